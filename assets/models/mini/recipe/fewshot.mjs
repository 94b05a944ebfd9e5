// Renders identities for the few-shot measure: characters that are taught from ten expressions, and
// what they look like with five more.
//
//   node fewshot.mjs <folder> [--identities 20] [--seed 90] [--size 128]
//
// Writes `characters/<id>/` in the project's format with ten captioned pictures and a line of dialogue
// for each, `asked.jsonl` (one {"character", "caption", "expression", "ground"} a line, expressions by
// number) and `truth/<ground>/<character>-<expression>.png`: every character with every expression asked
// for, on every background asked for. Identities are random; that the training pictures hold one of them
// too is unlikely, and none of them holds its name.
import fs from 'node:fs';
import path from 'node:path';
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';
import { Resvg } from '@resvg/resvg-js';
import { BACKGROUNDS, STYLES, generator } from './captions.mjs';

const [folder, ...rest] = process.argv.slice(2);
if (!folder) { console.error('usage: node fewshot.mjs <folder> [--identities N] [--seed S] [--size P]'); process.exit(2); }
const option = (name, value) => { const at = rest.indexOf(`--${name}`); return at < 0 ? value : Number(rest[at + 1]); };
const count = option('identities', 20); const size = option('size', 128);
const random = generator(option('seed', 90));
const pick = (list) => list[Math.floor(random() * list.length)];
const shuffled = (list) => { const out = [...list]; for (let i = out.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [out[i], out[j]] = [out[j], out[i]]; } return out; };

const NAMES = ['Abelard', 'Bettina', 'Corwin', 'Delphine', 'Edmund', 'Farida', 'Gaspard', 'Hedda', 'Isidro', 'Jolanta', 'Kasimir', 'Leocadia', 'Mortimer', 'Nadezhda', 'Osgood', 'Philippa', 'Quillon', 'Rosalba', 'Sixten', 'Theodora'];
const TAUGHT = 10; const ASKED = 5;
const style = STYLES.avataaars;
/** The one expression that several share in words is left out: an answer must be right or wrong. */
const faces = style.faces.filter(([words]) => words !== 'smiling');
const hats = new Set(style.hat);

function identity(name) {
  const colour = Object.fromEntries(Object.entries(style.colours).filter(([, table]) => table).map(([key, table]) => [key, pick(Object.keys(table))]));
  const hair = pick(Object.keys(style.hair[1]));
  const glasses = random() < style.glasses[2] ? pick(Object.keys(style.glasses[1]).filter((g) => g !== 'sunglasses' && g !== 'eyepatch')) : null;
  const beard = random() < style.beard[2] ? pick(Object.keys(style.beard[1])) : null;
  const clothes = pick(Object.keys(style.clothes[1]));
  const hairWords = style.hair[1][hair];
  const looks = [
    hats.has(hair) ? hairWords : hairWords.includes('hair') ? hairWords.replace('hair', `${colour.hairColor} hair`) : `${hairWords} of ${colour.hairColor} hair`,
    `${colour.skinColor} skin`, ...(beard ? [style.beard[1][beard]] : []), ...(glasses ? [style.glasses[1][glasses]] : []),
  ];
  const cloth = style.clothes[1][clothes];
  const outfit = cloth.startsWith('a ') ? `${cloth} in ${colour.clothesColor}` : `a ${colour.clothesColor} ${cloth}`;
  return { name, colour, hair, glasses, beard, clothes, outfit, looks: `a person with ${looks.slice(0, -1).join(', ')} and ${looks.at(-1)}` };
}

function draw(who, [, parts], ground) {
  const options = { top: [who.hair], topProbability: 100, clothing: [who.clothes], facialHairProbability: who.beard ? 100 : 0, facialHair: who.beard ? [who.beard] : [], accessoriesProbability: who.glasses ? 100 : 0, accessories: who.glasses ? [who.glasses] : [], backgroundColor: [BACKGROUNDS[ground]] };
  for (const [key, table] of Object.entries(style.colours)) if (table) options[key] = [table[who.colour[key]]];
  options.facialHairColor = options.hairColor;
  for (const [key, value] of Object.entries(parts)) options[key] = [value];
  const svg = createAvatar(collection.avataaars, { ...options, seed: who.name, size }).toString();
  return new Resvg(svg, { fitTo: { mode: 'width', value: size }, background: 'white' }).render().asPng();
}

/** Captions say how somebody looks, as those of the bundled cast do. */
const caption = (who, [words], ground) => `A ${style.name} of ${who.name}, ${who.looks}, wearing ${who.outfit}, ${words}, on a ${ground} background.`;
const lines = (list) => list.map((item) => `${JSON.stringify(item)}\n`).join('');
const write = (file, content) => { fs.mkdirSync(path.dirname(file), { recursive: true }); fs.writeFileSync(file, content); };

const people = NAMES.slice(0, count).map(identity);
const plans = people.map(() => shuffled(faces)).map((order) => ({ taught: order.slice(0, TAUGHT), asked: order.slice(TAUGHT, TAUGHT + ASKED) }));
const asked = [];
for (const [index, who] of people.entries()) {
  const id = who.name.toLowerCase();
  const at = (file) => path.join(folder, 'characters', id, file);
  const pictures = []; const scenes = [];
  for (const [n, face] of plans[index].taught.entries()) {
    const ground = pick(Object.keys(BACKGROUNDS));
    const name = `face-${n}`;
    write(at(`pictures/${name}.png`), draw(who, face, ground));
    const words = caption(who, face, ground);
    pictures.push({ id: name, file: `pictures/${name}.png`, caption: words, split: 'train' });
    scenes.push({ id: `scene-${n}`, split: 'train', origin: 'picture', turns: [
      { role: 'user', text: `${who.name}, how do you look ${face[0]}?` },
      { role: 'character', text: `Like this: ${face[0]}, and nobody else looks it so well.`, picture: name, reasoning: `${who.name} is asked for a face and makes it: ${face[0]}.`, instruction: words },
    ] });
  }
  write(at('character.json'), `${JSON.stringify({
    schema: 1, id: `${String(index).padStart(4, '0')}fe3550000000000000000000000`.slice(0, 32), name: who.name, group: 'drawn',
    persona: `${who.name} makes faces for a living.`, speaking_style: 'Short and plain.',
    visual_cues: { appearance: who.looks, outfit: who.outfit, expressions: [] },
    greeting: 'Which face will it be?', licence: 'CC0-1.0', credits: ['Avataaars by Pablo Stanley, through DiceBear (free for personal and commercial use).'], source: { kind: 'written' },
  }, null, 2)}\n`);
  write(at('profile.md'), `${who.name} makes faces for a living.\n`);
  write(at('pictures.jsonl'), lines(pictures));
  write(at('scenes.jsonl'), lines(scenes));
  for (const face of plans[index].asked) {
    const ground = pick(Object.keys(BACKGROUNDS));
    asked.push({ character: id, caption: caption(who, face, ground), expression: faces.indexOf(face), ground });
  }
}
write(path.join(folder, 'asked.jsonl'), lines(asked));
const wanted = faces.filter((_, n) => asked.some((item) => item.expression === n));
for (const ground of new Set(asked.map((item) => item.ground))) {
  for (const who of people) for (const face of wanted) write(path.join(folder, 'truth', ground, `${who.name.toLowerCase()}-${faces.indexOf(face)}.png`), draw(who, face, ground));
}
