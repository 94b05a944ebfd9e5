// Writes the pictures of the characters that are drawn here: node draw.mjs <characters folder>
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import * as marzipan from './marzipan.mjs';

const characters = { marzipan };
const root = process.argv[2];
if (!root) throw new Error('say where the characters are: node draw.mjs <characters folder>');
for (const [name, { pictures }] of Object.entries(characters)) {
  const folder = join(root, name, 'pictures');
  mkdirSync(folder, { recursive: true });
  for (const [id, svg] of Object.entries(pictures)) {
    writeFileSync(join(folder, `${id}.png`), new Resvg(svg).render().asPng());
  }
  console.log(`${name}: ${Object.keys(pictures).length} pictures in ${folder}`);
}
