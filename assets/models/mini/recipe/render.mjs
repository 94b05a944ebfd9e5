// Renders pictures with exact captions: parametric avatars and 3D emoji.
//
//   node render.mjs <folder> [--count 16000] [--seed 1] [--size 128] [--avatars 0.5]
//
// Writes `pictures.rgb` (count × size × size × 3 bytes, row by row), `captions.jsonl` (one
// {"caption", "source"} a line, in the same order), `questions.jsonl` (one {"questions",
// "statements"} a line: questions with answers, and what is true of the picture by attribute) and
// `details.u8` (count × 32 × 32 bytes: how much of each cell another expression would change,
// or, half as much, other hair, glasses or beard).
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
/** Share of avatars; the others are emoji. */
const avatarShare = option('avatars', 0.5);

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

/** Cells of `details.u8` in a row of a picture, other looks to compare with, and a difference that counts. */
const CELLS = 32; const OTHERS = 3; const DIFFERENT = 24;
/** What hair, glasses and beard count beside an expression, which is smaller. */
const HEAD_SHARE = 0.5;
const cellSide = size / CELLS;
/** Share of each cell, of 255, that differs between `pixels` and any of `others` (RGBA). */
function differences(pixels, others) {
  const cells = Buffer.alloc(CELLS * CELLS);
  const changed = new Uint16Array(CELLS * CELLS);
  for (let at = 0; at < size * size; at++) {
    const differs = others.some((other) => [0, 1, 2].some((c) => Math.abs(other[at * 4 + c] - pixels[at * 4 + c]) > DIFFERENT));
    if (differs) changed[Math.floor(Math.floor(at / size) / cellSide) * CELLS + Math.floor((at % size) / cellSide)]++;
  }
  for (const [cell, number] of changed.entries()) cells[cell] = Math.round((255 * number) / (cellSide * cellSide));
  return cells;
}

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
  return { rgb, caption, source: 'fluent-emoji-3d', asked: questions(asking, facts, 'avataaars', emojis.map((e) => e.name)), details: Buffer.alloc(CELLS * CELLS) };
}

/** Some of `list`, spread evenly. They draw from no generator, so that they never change the pictures. */
function spread(list, number) {
  const step = Math.max(1, Math.floor(list.length / number));
  return list.filter((_, n) => n % step === 0).slice(0, number);
}

/** Options of the same avatar with other expressions. */
function otherFaces(style, options) {
  const { faces } = STYLES[style];
  const is = (parts) => Object.entries(parts).every(([key, value]) => options[key]?.[0] === value);
  const others = faces.filter(([, parts]) => !is(parts));
  return spread(others, OTHERS)
    .map(([, parts]) => ({ ...options, ...Object.fromEntries(Object.entries(parts).map(([key, value]) => [key, [value]])) }));
}

/** Options of the same avatar with other hair, and with glasses and beard where there are none and without where there are. */
function otherHeads(style, options) {
  const others = [];
  for (const part of ['hair', 'extra', 'glasses', 'beard']) {
    if (!STYLES[style][part]) continue;
    const [key, values, chance] = STYLES[style][part];
    const isOn = options[key]?.length > 0;
    const changed = part === 'hair' ? spread(Object.keys(values).filter((value) => value !== options[key][0]), OTHERS) : [isOn ? null : Object.keys(values)[0]];
    for (const value of changed) others.push({ ...options, [key]: value ? [value] : [], ...(chance === undefined ? {} : { [`${key}Probability`]: value ? 100 : 0 }) });
  }
  return others;
}

async function drawAvatar() {
  const names = ['avataaars', 'avataaars', 'bigSmile', 'toonHead', 'personas', 'micah', 'adventurer'].filter((n) => n in STYLES);
  const style = names[Math.floor(random() * names.length)];
  const place = pickPlace();
  const { options, caption, parameters } = avatar(random, style, place?.words);
  if (place) options.backgroundColor = ['transparent'];
  const seed = String(random());
  const draw = (chosen) => {
    const svg = createAvatar(collection[style], { ...chosen, seed, size }).toString();
    return new Resvg(style === 'toonHead' ? mouths(svg) : svg, { fitTo: { mode: 'width', value: size }, background: place ? undefined : 'white' }).render();
  };
  const image = draw(options);
  const marks = (others) => differences(image.pixels, others.map((other) => draw(other).pixels));
  const heads = marks(otherHeads(style, options));
  const details = marks(otherFaces(style, options)).map((face, cell) => Math.max(face, Math.round(HEAD_SHARE * heads[cell])));
  const picture = place
    ? raw(place.pixels).composite([{ input: await raw(image).png().toBuffer() }])
    : raw(image);
  const rgb = await picture.removeAlpha().raw().toBuffer();
  return { rgb, caption, source: `dicebear/${style}`, asked: questions(asking, avatarFacts(parameters), style, []), details };
}

fs.mkdirSync(folder, { recursive: true });
const pictures = fs.openSync(path.join(folder, 'pictures.rgb'), 'w');
const captions = fs.openSync(path.join(folder, 'captions.jsonl'), 'w');
const asked = fs.openSync(path.join(folder, 'questions.jsonl'), 'w');
const details = fs.openSync(path.join(folder, 'details.u8'), 'w');
for (let i = 0; i < count; i++) {
  const made = random() < 1 - avatarShare ? await drawEmoji() : await drawAvatar();
  fs.writeSync(pictures, made.rgb); fs.writeSync(captions, `${JSON.stringify({ caption: made.caption, source: made.source })}\n`);
  fs.writeSync(asked, `${JSON.stringify(made.asked)}\n`); fs.writeSync(details, made.details);
  if ((i + 1) % 1000 === 0) console.error(`${i + 1} / ${count}`);
}
