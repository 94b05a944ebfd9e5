// Portraits of bundled characters as SVG: a scene, an avatar in front of it, props in the corners.
//
// A module `cast/<slug>.mjs` exports `pictures` = { id: svgString }, for example
//
//   import { portrait } from '../portrait.mjs';
//   const style = 'avataaars'; // any DiceBear style of ../models/mini/recipe/captions.mjs, or bottts
//   const identity = { top: ['shortFlat'], hairColor: ['4a312c'], clothing: ['hoodie'], accessoriesProbability: 0 };
//   const faces = { happy: { eyes: ['happy'], mouth: ['smile'], eyebrows: ['default'] } };
//   export const pictures = {
//     'beach-happy': portrait({ style, identity, face: faces.happy, scene: 'beach', props: ['1f41a', '2600'] }),
//     'dusk-happy': portrait({ style, identity, face: faces.happy, scene: 'sea', colours: ['#f6b26b', '#3a5f8a'] }),
//   };
//
// * `identity` and `face` are DiceBear options: lists of one value, colours in hex without '#'. Parts that
//   have a probability need `<part>Probability: 100` or 0. The seed is fixed, so name every part that matters.
// * `scene` is a name of SCENES (all listed by `Object.keys(SCENES)`), or `{ svg: '…256×256 shapes…' }`.
//   `colours` replaces the scene's own colours in the order of its parameters; leave a gap with `undefined`.
// * `props` are code points of Fluent 3D emoji (a file name of @lobehub/fluent-emoji-3d without .webp), the
//   first in the lower left corner, the second in the lower right one; or `{ emoji, x, y, size }` for a place.
// * `size`, `x`, `y` move the avatar from the frame of its style (FRAMES); the head is about half the width.
// * `above` is SVG drawn on top of all, `below` is drawn between the scene and the avatar.
//
// `node draw.mjs ../../characters [slug …]` writes the PNG files.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';
import { SCENES } from './scenes.mjs';

export { SCENES };

// The avatar's square in the picture by style, so that the head is about half the picture's width.
const FRAMES = {
  avataaars: { size: 284, x: -14, y: -11 },
  personas: { size: 264, x: -4, y: -8 },
  micah: { size: 250, x: 10, y: 8 },
  bigSmile: { size: 216, x: 20, y: 38 },
  toonHead: { size: 264, x: -4, y: 8 },
  adventurer: { size: 240, x: 8, y: 16 },
  bottts: { size: 196, x: 30, y: 52 },
};

let avatars = 0;

/** The shapes of a DiceBear avatar in a 256 × 256 square, without a background. */
export function avatar(style, options) {
  if (!collection[style]) throw new Error(`no DiceBear style is called ${style}`);
  const svg = createAvatar(collection[style], { seed: 'troupe', ...options, backgroundColor: ['transparent'] }).toString();
  const [, , , width] = svg.match(/viewBox="(\S+) (\S+) (\S+) \S+"/);
  const prefix = `a${(avatars += 1)}-`;
  const inner = svg.replace(/^<svg[^>]*>|<\/svg>$/g, '').replace(/<metadata[\s\S]*?<\/metadata>/, '')
    .replace(/<mask id="viewboxMask">[\s\S]*?<\/mask>/, '').replace(/ mask="url\(#viewboxMask\)"/, '')
    // The renderer cannot blend inside a mask; a faint plain highlight looks as the blended one should.
    .replace(/fill="#fff" style="mix-blend-mode:overlay" opacity="\.36"/g, 'fill="#fff" opacity=".1"')
    .replace(/\bid="/g, `id="${prefix}`).replace(/url\(#/g, `url(#${prefix}`).replace(/href="#/g, `href="#${prefix}`);
  return `<g fill="none" transform="scale(${256 / Number(width)})">${inner}</g>`;
}

/** Puts 256 × 256 shapes into the square of side `size` at (x, y). */
export const place = (svg, x, y, size) => `<g transform="translate(${x} ${y}) scale(${size / 256})">${svg}</g>`;

const wrap = (inner) => `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="256" height="256" viewBox="0 0 256 256">${inner}</svg>`;

const shapes = (name, colours) => {
  if (name?.svg) return name.svg;
  if (!SCENES[name]) throw new Error(`no scene is called ${name}; there are ${Object.keys(SCENES).join(', ')}`);
  return SCENES[name](...colours);
};

/** A whole 256 × 256 background picture. */
export const scene = (name, colours = []) => wrap(shapes(name, colours));

// Emoji are WebP, which the renderer cannot read, and sharp answers only later; a worker lets us wait for it.
const CONVERT = `const { workerData: { port, flag, sharp }, parentPort } = require('node:worker_threads');
parentPort.on('message', async ({ file }) => {
  try { port.postMessage({ png: (await require(sharp)(file).resize(128, 128).png().toBuffer()).toString('base64') }); }
  catch (error) { port.postMessage({ error: String(error) }); }
  Atomics.store(flag, 0, 1); Atomics.notify(flag, 0);
});`;
const require = createRequire(import.meta.url);
const emoji = join(dirname(require.resolve('@lobehub/fluent-emoji-3d/package.json')), 'assets');
const converted = new Map();
let converter;

function png(code) {
  if (converted.has(code)) return converted.get(code);
  const file = [code, `${code}-fe0f`].map((name) => join(emoji, `${name}.webp`)).find(existsSync);
  if (!file) throw new Error(`no Fluent 3D emoji has the code ${code}`);
  if (!converter) {
    const { port1, port2 } = new MessageChannel();
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(CONVERT, { eval: true, workerData: { port: port2, flag, sharp: require.resolve('sharp') }, transferList: [port2] });
    worker.unref(); port1.unref();
    converter = { worker, port: port1, flag };
  }
  Atomics.store(converter.flag, 0, 0);
  converter.worker.postMessage({ file });
  Atomics.wait(converter.flag, 0, 0, 30000);
  const { message } = receiveMessageOnPort(converter.port) ?? { message: { error: 'no answer in 30 s' } };
  if (message.error) throw new Error(`cannot convert ${file}: ${message.error}`);
  converted.set(code, message.png);
  return message.png;
}

/** A Fluent 3D emoji in the square of side `size` at (x, y). */
export const prop = (code, x, y, size) => `<image x="${x}" y="${y}" width="${size}" height="${size}" href="data:image/png;base64,${png(code)}"/>`;

const CORNERS = [{ x: 4, y: 172, size: 80 }, { x: 172, y: 172, size: 80 }, { x: 6, y: 8, size: 64 }, { x: 186, y: 8, size: 64 }];

/** A whole 256 × 256 portrait. */
export function portrait({ style, identity = {}, face = {}, scene: name = 'plain', colours = [], props = [], size, x, y, above = '', below = '' }) {
  const frame = FRAMES[style] ?? { size: 200 };
  const side = size ?? frame.size;
  const left = x ?? (size === undefined && frame.x !== undefined ? frame.x : (256 - side) / 2);
  const top = y ?? (size === undefined && frame.y !== undefined ? frame.y : 256 - side);
  const things = props.map((item, i) => (item ? (typeof item === 'string' ? { ...CORNERS[i], emoji: item } : { ...CORNERS[i], ...item }) : null)).filter(Boolean);
  return wrap(shapes(name, colours) + below + place(avatar(style, { ...identity, ...face }), left, top, side)
    + things.map((thing) => prop(thing.emoji, thing.x, thing.y, thing.size)).join('') + above);
}
