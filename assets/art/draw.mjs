// Writes the pictures of the characters that are drawn here: node draw.mjs <characters folder> [slug …]
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';

const [root, ...only] = process.argv.slice(2);
if (!root) throw new Error('say where the characters are: node draw.mjs <characters folder> [slug …]');
const here = import.meta.dirname;
const modules = { marzipan: './marzipan.mjs' };
for (const file of readdirSync(join(here, 'cast')).sort()) {
  if (file.endsWith('.mjs')) modules[file.slice(0, -4)] = `./cast/${file}`;
}
for (const name of only) if (!modules[name]) throw new Error(`no module draws ${name}; there are ${Object.keys(modules).join(', ')}`);
for (const [name, module] of Object.entries(modules)) {
  if (only.length && !only.includes(name)) continue;
  const { pictures } = await import(module);
  const folder = join(root, name, 'pictures');
  mkdirSync(folder, { recursive: true });
  for (const [id, svg] of Object.entries(pictures)) {
    writeFileSync(join(folder, `${id}.png`), new Resvg(svg).render().asPng());
  }
  console.log(`${name}: ${Object.keys(pictures).length} pictures in ${folder}`);
}
