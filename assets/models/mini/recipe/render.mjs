// Renders pictures with exact captions: parametric avatars and 3D emoji.
//
//   node render.mjs <folder> [--count 16000] [--seed 1] [--size 128]
//
// Writes `pictures.rgb` (count × size × size × 3 bytes, row by row), `captions.jsonl` (one
// {"caption", "source"} a line, in the same order) and `questions.jsonl` (one {"questions",
// "statements"} a line: questions with answers, and what is true of the picture by attribute).
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';
import { Resvg } from '@resvg/resvg-js';
import sharp from 'sharp';
import emoji from 'unicode-emoji-json' with { type: 'json' };
import { BACKGROUNDS, PLACES, STYLES, avatar, generator, object } from './captions.mjs';
import { avatarFacts, objectFacts, questions } from './questions.mjs';
import { SCENES } from '../../../art/scenes.mjs';

const [folder, ...rest] = process.argv.slice(2);
if (!folder) { console.error('usage: node render.mjs <folder> [--count N] [--seed S] [--size P]'); process.exit(2); }
const option = (name, value) => { const at = rest.indexOf(`--${name}`); return at < 0 ? value : Number(rest[at + 1]); };
const count = option('count', 16000); const size = option('size', 128);

const random = generator(option('seed', 1));
/** Questions draw from their own generator, so that they never change the pictures. */
const asking = generator(option('seed', 1) + 0x5eed);

const require = createRequire(import.meta.url);
const assets = path.join(path.dirname(require.resolve('@lobehub/fluent-emoji-3d/package.json')), 'assets');
const GROUPS = { 'Smileys & Emotion': 3, 'People & Body': 0.5, 'Animals & Nature': 5, 'Food & Drink': 3, 'Travel & Places': 2.5, Activities: 2, Objects: 1.5 };
const emojis = Object.entries(emoji).flatMap(([symbol, { name, group }]) => {
  if (!(group in GROUPS)) return [];
  const code = [...symbol].map((c) => c.codePointAt(0).toString(16).padStart(4, '0')).join('-');
  const file = [code, code.replace(/-fe0f/g, '')].map((c) => path.join(assets, `${c}.webp`)).find(fs.existsSync);
  return file ? [{ name, group, file, weight: GROUPS[group] }] : [];
});
const total = emojis.reduce((sum, e) => sum + e.weight, 0);
function pickEmoji() { let at = random() * total; for (const e of emojis) { at -= e.weight; if (at <= 0) return e; } return emojis[0]; }

/** Share of pictures that stand in a drawn place instead of on one colour. */
const PLACE_SHARE = 0.35;
const placeNames = Object.keys(PLACES);
/** A place and its pixels, or nothing. */
function pickPlace() {
  if (random() >= PLACE_SHARE) return null;
  const name = placeNames[Math.floor(random() * placeNames.length)];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 256 256">${SCENES[name]()}</svg>`;
  return { words: PLACES[name], svg, pixels: new Resvg(svg).render() };
}
/**
 * What toonHead means but the renderer does not draw: it takes the dark alpha masks of open mouths
 * for nearly transparent, and lips at half opacity vanish at this size.
 */
const mouths = (svg) => svg
  .replaceAll('fill="#611519"/></mask>', 'fill="#fff"/></mask>')
  .replaceAll('fill="#3F2626" fill-opacity="0.5"', 'fill="#3F2626"');
const raw = (image) => sharp(Buffer.from(image.pixels), { raw: { width: image.width, height: image.height, channels: 4 } });

async function drawEmoji() {
  const chosen = pickEmoji();
  const place = pickPlace();
  const ground = Object.keys(BACKGROUNDS)[Math.floor(random() * Object.keys(BACKGROUNDS).length)];
  const side = Math.round(size * (0.7 + 0.28 * random()));
  const at = () => Math.round((size - side) * random());
  let picture = sharp(chosen.file).resize(side, side);
  if (random() < 0.5) picture = picture.flop();
  const back = place ? raw(place.pixels) : sharp({ create: { width: size, height: size, channels: 3, background: `#${BACKGROUNDS[ground]}` } });
  const input = await picture.png().toBuffer();
  const rgb = await back.composite([{ input, left: at(), top: place ? size - side : at() }]).removeAlpha().raw().toBuffer();
  const caption = object(random, chosen.name, chosen.group, ground, place?.words);
  const facts = objectFacts({ ...chosen, ground, place: place?.words });
  return { rgb, caption, source: 'fluent-emoji-3d', asked: questions(asking, facts, 'avataaars', emojis.map((e) => e.name)) };
}

async function drawAvatar() {
  const names = ['avataaars', 'avataaars', 'bigSmile', 'toonHead', 'personas', 'micah', 'adventurer'].filter((n) => n in STYLES);
  const style = names[Math.floor(random() * names.length)];
  const place = pickPlace();
  const { options, caption, parameters } = avatar(random, style, place?.words);
  if (place) options.backgroundColor = ['transparent'];
  const svg = createAvatar(collection[style], { ...options, seed: String(random()), size }).toString();
  const image = new Resvg(style === 'toonHead' ? mouths(svg) : svg, { fitTo: { mode: 'width', value: size }, background: place ? undefined : 'white' }).render();
  const picture = place
    ? raw(place.pixels).composite([{ input: await raw(image).png().toBuffer() }])
    : raw(image);
  const rgb = await picture.removeAlpha().raw().toBuffer();
  return { rgb, caption, source: `dicebear/${style}`, asked: questions(asking, avatarFacts(parameters), style, []) };
}

fs.mkdirSync(folder, { recursive: true });
const pictures = fs.openSync(path.join(folder, 'pictures.rgb'), 'w');
const captions = fs.openSync(path.join(folder, 'captions.jsonl'), 'w');
const asked = fs.openSync(path.join(folder, 'questions.jsonl'), 'w');
for (let i = 0; i < count; i++) {
  const made = random() < 0.5 ? await drawEmoji() : await drawAvatar();
  fs.writeSync(pictures, made.rgb); fs.writeSync(captions, `${JSON.stringify({ caption: made.caption, source: made.source })}\n`);
  fs.writeSync(asked, `${JSON.stringify(made.asked)}\n`);
  if ((i + 1) % 1000 === 0) console.error(`${i + 1} / ${count}`);
}
