// Puts rendered pictures on a sheet that ships with the base: while a character is taught, some of them
// are mixed in, so that the base does not forget what it could draw.
//
//   node rehearsal.mjs <folder of render.mjs> <folder> [--size 128]
//
// Writes `sheet.png`, the pictures row by row, and `captions.jsonl` in the same order.
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

const [from, to, ...rest] = process.argv.slice(2);
if (!to) { console.error('usage: node rehearsal.mjs <folder of render.mjs> <folder> [--size P]'); process.exit(2); }
const at = rest.indexOf('--size'); const size = at < 0 ? 128 : Number(rest[at + 1]);
const COLUMNS = 12;

const pixels = fs.readFileSync(path.join(from, 'pictures.rgb'));
const captions = fs.readFileSync(path.join(from, 'captions.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line).caption);
const bytes = size * size * 3;
if (pixels.length !== captions.length * bytes) { console.error(`${pixels.length} bytes are not ${captions.length} pictures of ${size}×${size}`); process.exit(1); }
const rows = Math.ceil(captions.length / COLUMNS);
const raw = { width: size, height: size, channels: 3 };
const cells = captions.map((_, i) => ({ input: pixels.subarray(i * bytes, (i + 1) * bytes), raw, left: (i % COLUMNS) * size, top: Math.floor(i / COLUMNS) * size }));
fs.mkdirSync(to, { recursive: true });
await sharp({ create: { width: COLUMNS * size, height: rows * size, channels: 3, background: '#fff' } }).composite(cells).png({ compressionLevel: 9 }).toFile(path.join(to, 'sheet.png'));
fs.writeFileSync(path.join(to, 'captions.jsonl'), captions.map((caption) => `${JSON.stringify({ caption })}\n`).join(''));
