// Words for the parts of avatars, and sentences built from them.

/** A small seeded generator (mulberry32), so that a recipe gives the same pictures everywhere. */
export function generator(seed) {
  let a = seed >>> 0;
  return () => { a = (a + 0x6d2b79f5) >>> 0; let t = a; t = Math.imul(t ^ (t >>> 15), t | 1); t ^= t + Math.imul(t ^ (t >>> 7), t | 61); return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
}

export const BACKGROUNDS = {
  white: 'ffffff', 'light grey': 'd9d9de', black: '1b1b20', red: 'd8453c', orange: 'f0913a',
  yellow: 'f7d54a', green: '58a65c', 'light green': 'b6e3b0', blue: '3f74d1', 'light blue': 'a9d6f5',
  purple: '8a5cc2', pink: 'f5b3cc', brown: '8a5a3c', teal: '2f9c95',
};

/** Words for the drawn places of ../../../art/scenes.mjs. */
export const PLACES = {
  beach: 'on a beach', sea: 'by the sea', harbour: 'in a harbour', night: 'under a night sky', forest: 'in a forest', meadow: 'in a meadow',
  snow: 'in the snow', kitchen: 'in a kitchen', diner: 'in a diner', library: 'in a library', street: 'in a street', rooftop: 'on a rooftop at sunset',
  train: 'in a train', platform: 'on a railway platform', lighthouse: 'by a lighthouse', lampRoom: 'in the lamp room of a lighthouse', storm: 'in a storm',
  volcano: 'in front of a volcano', workshop: 'in a workshop', stage: 'on a stage', radioStudio: 'in a radio studio', garden: 'in a garden',
  market: 'at a market', castleHall: 'in a castle hall', clockTower: 'in a clock tower', airship: 'on an airship', cave: 'in a cave',
  laboratory: 'in a laboratory', moon: 'on the moon', rainyWindow: 'at a rainy window', bedroom: 'in a bedroom', cafe: 'in a café', desert: 'in a desert',
  space: 'in space', underwater: 'under water', classroom: 'in a classroom', park: 'in a park', mountain: 'in the mountains', camp: 'at a camp at night',
  festival: 'at a festival',
};

const HAIR = {
  auburn: 'a55728', black: '1f1712', blonde: 'd6b370', brown: '724133', 'dark brown': '4a312c',
  pink: 'f59797', platinum: 'ecdcbf', red: 'c93305', 'silver grey': 'bcb8b4', blue: '4a6fd8', green: '3f9150',
};
const SKIN = {
  'very light': 'ffe0cc', light: 'f3c6a3', tanned: 'd99a62', brown: 'ae6a3a', 'dark brown': '6d4630',
};
const CLOTHES = {
  black: '262e33', blue: '3b6fd4', 'light blue': '9cc9f2', green: '3f9150', 'light green': 'a7e8b4',
  red: 'd63a3a', pink: 'ff8fb4', yellow: 'f5cf45', orange: 'f28c33', purple: '7a4fc0', white: 'f6f6f6', grey: '8d949a',
};
const GLASSES = { black: '262e33', red: 'd63a3a', blue: '3b6fd4', gold: 'd9a62b' };

// part: [option value, words]; `null` words leave the part unnamed.
export const STYLES = {
  avataaars: {
    name: 'flat cartoon avatar', colours: { hairColor: HAIR, facialHairColor: null, skinColor: SKIN, clothesColor: CLOTHES, hatColor: CLOTHES, accessoriesColor: GLASSES },
    hair: ['top', { bob: 'a bob cut', bun: 'hair in a bun', curly: 'curly hair', curvy: 'long wavy hair', dreads: 'long dreadlocks', fro: 'an afro', bigHair: 'big long hair', longButNotTooLong: 'shoulder-length hair', miaWallace: 'a fringe and chin-length hair', straight01: 'long straight hair', straight02: 'long straight hair parted in the middle', dreads01: 'short dreadlocks', frizzle: 'frizzy hair on top', shaggy: 'shaggy hair', shaggyMullet: 'a shaggy mullet', shortCurly: 'short curly hair', shortFlat: 'short flat hair', shortRound: 'short round hair', shortWaved: 'short wavy hair', sides: 'a bald top with hair at the sides', theCaesar: 'cropped hair', hat: 'a fedora hat', hijab: 'a hijab', turban: 'a turban', winterHat1: 'a woolly winter hat' }],
    hat: ['hat', 'hijab', 'turban', 'winterHat1'],
    glasses: ['accessories', { prescription01: 'thin glasses', prescription02: 'thick glasses', round: 'round glasses', sunglasses: 'sunglasses', wayfarers: 'dark-framed glasses', eyepatch: 'an eyepatch' }, 0.4],
    beard: ['facialHair', { beardLight: 'a short beard', beardMajestic: 'a full long beard', beardMedium: 'a beard', moustacheFancy: 'a curled moustache', moustacheMagnum: 'a thick moustache' }, 0.2],
    clothes: ['clothing', { blazerAndShirt: 'a blazer over a shirt', blazerAndSweater: 'a blazer over a sweater', collarAndSweater: 'sweater with a collar', hoodie: 'hoodie', overall: 'dungarees', shirtCrewNeck: 'crew-neck shirt', shirtScoopNeck: 'scoop-neck shirt', shirtVNeck: 'V-neck shirt' }],
    faces: [['smiling happily', { eyes: 'happy', mouth: 'smile', eyebrows: 'defaultNatural' }], ['smiling', { eyes: 'default', mouth: 'smile', eyebrows: 'default' }], ['winking', { eyes: 'wink', mouth: 'twinkle', eyebrows: 'upDown' }], ['sad', { eyes: 'default', mouth: 'sad', eyebrows: 'sadConcerned' }], ['crying', { eyes: 'cry', mouth: 'sad', eyebrows: 'sadConcernedNatural' }], ['angry', { eyes: 'squint', mouth: 'serious', eyebrows: 'angry' }], ['surprised', { eyes: 'surprised', mouth: 'disbelief', eyebrows: 'raisedExcited' }], ['screaming in shock', { eyes: 'surprised', mouth: 'screamOpen', eyebrows: 'raisedExcitedNatural' }], ['in love, with hearts for eyes', { eyes: 'hearts', mouth: 'smile', eyebrows: 'raisedExcited' }], ['sleeping with closed eyes', { eyes: 'closed', mouth: 'serious', eyebrows: 'flatNatural' }], ['sticking out the tongue', { eyes: 'happy', mouth: 'tongue', eyebrows: 'raisedExcited' }], ['bored, rolling the eyes', { eyes: 'eyeRoll', mouth: 'serious', eyebrows: 'flatNatural' }], ['suspicious, looking aside', { eyes: 'side', mouth: 'serious', eyebrows: 'upDownNatural' }], ['worried', { eyes: 'default', mouth: 'concerned', eyebrows: 'sadConcernedNatural' }], ['serious', { eyes: 'default', mouth: 'serious', eyebrows: 'flatNatural' }], ['dizzy', { eyes: 'xDizzy', mouth: 'grimace', eyebrows: 'frownNatural' }]],
  },
  bigSmile: {
    name: 'round big-headed cartoon', colours: { hairColor: HAIR, skinColor: SKIN },
    hair: ['hair', { shortHair: 'short hair', mohawk: 'a mohawk', wavyBob: 'a wavy bob', bowlCutHair: 'a bowl cut', curlyBob: 'a curly bob', straightHair: 'long straight hair', braids: 'two braids', shavedHead: 'a shaved head', bunHair: 'hair in a bun', froBun: 'two afro puffs', bangs: 'hair with bangs', curlyShortHair: 'short curly hair' }],
    glasses: ['accessories', { glasses: 'glasses', sunglasses: 'sunglasses', catEars: 'cat ears', clownNose: 'a clown nose', faceMask: 'a face mask', mustache: 'a moustache', sleepMask: 'a sleep mask', sailormoonCrown: 'a small crown' }, 0.45],
    faces: [['smiling cheerfully', { eyes: 'cheery', mouth: 'openedSmile' }], ['smiling with all teeth', { eyes: 'normal', mouth: 'teethSmile' }], ['sad', { eyes: 'sad', mouth: 'openSad' }], ['angry', { eyes: 'angry', mouth: 'unimpressed' }], ['sleepy', { eyes: 'sleepy', mouth: 'unimpressed' }], ['winking', { eyes: 'winking', mouth: 'gapSmile' }], ['starstruck', { eyes: 'starstruck', mouth: 'openedSmile' }], ['confused', { eyes: 'confused', mouth: 'awkwardSmile' }], ['shy and cute', { eyes: 'normal', mouth: 'kawaii' }]],
  },
  toonHead: {
    name: 'toon portrait', colours: { hairColor: HAIR, skinColor: SKIN, clothesColor: CLOTHES },
    hair: ['hair', { sideComed: 'side-combed hair', undercut: 'an undercut', spiky: 'spiky hair', bun: 'hair in a bun' }],
    extra: ['rearHair', { longStraight: 'long straight hair behind', longWavy: 'long wavy hair behind', shoulderHigh: 'shoulder-length hair behind', neckHigh: 'neck-length hair behind' }, 0.45],
    beard: ['beard', { moustacheTwirl: 'a twirled moustache', fullBeard: 'a full beard', longBeard: 'a long beard', chin: 'a chin beard' }, 0.25],
    clothes: ['clothes', { turtleNeck: 'turtleneck', openJacket: 'open jacket', dress: 'dress', shirt: 'shirt', tShirt: 'T-shirt' }],
    faces: [['laughing', { eyes: 'happy', mouth: 'laugh', eyebrows: 'happy' }], ['smiling', { eyes: 'wide', mouth: 'smile', eyebrows: 'neutral' }], ['winking', { eyes: 'wink', mouth: 'smile', eyebrows: 'raised' }], ['sad', { eyes: 'humble', mouth: 'sad', eyebrows: 'sad' }], ['angry', { eyes: 'wide', mouth: 'angry', eyebrows: 'angry' }], ['surprised', { eyes: 'wide', mouth: 'agape', eyebrows: 'raised' }], ['content, with closed eyes', { eyes: 'bow', mouth: 'smile', eyebrows: 'happy' }]],
  },
  personas: {
    name: 'soft minimal avatar', colours: { hairColor: HAIR, skinColor: SKIN, clothingColor: CLOTHES },
    hair: ['hair', { long: 'long hair', sideShave: 'side-shaved hair', shortCombover: 'a short comb-over', curlyHighTop: 'a curly high top', bobCut: 'a bob cut', curly: 'curly hair', pigtails: 'pigtails', curlyBun: 'a curly bun', buzzcut: 'a buzz cut', bobBangs: 'a bob with bangs', bald: 'a bald head', cap: 'a cap', beanie: 'a beanie', straightBun: 'hair in a bun', extraLong: 'very long hair', mohawk: 'a mohawk', fade: 'a fade cut' }],
    beard: ['facialHair', { beardMustache: 'a full beard', walrus: 'a walrus moustache', goatee: 'a goatee', shadow: 'stubble' }, 0.2],
    clothes: ['body', { squared: 'top with square shoulders', rounded: 'round top', small: 'small top', checkered: 'checkered top' }],
    faces: [['smiling', { eyes: 'open', mouth: 'smile' }], ['smiling broadly', { eyes: 'happy', mouth: 'bigSmile' }], ['frowning', { eyes: 'open', mouth: 'frown' }], ['surprised', { eyes: 'open', mouth: 'surprise' }], ['asleep', { eyes: 'sleep', mouth: 'lips' }], ['winking and smirking', { eyes: 'wink', mouth: 'smirk' }], ['smiling, with glasses', { eyes: 'glasses', mouth: 'smile' }], ['cool, with sunglasses', { eyes: 'sunglasses', mouth: 'smirk' }]],
  },
  micah: {
    name: 'loose line-art portrait', colours: { hairColor: HAIR, baseColor: SKIN, shirtColor: CLOTHES, glassesColor: GLASSES, facialHairColor: null, eyebrowsColor: null },
    hair: ['hair', { fonze: 'a quiff', mrT: 'a flat mohawk', dougFunny: 'a few strands of hair', mrClean: 'a bald head', dannyPhantom: 'swept spiky hair', full: 'full long hair', turban: 'a turban', pixie: 'a pixie cut' }],
    glasses: ['glasses', { round: 'round glasses', square: 'square glasses' }, 0.35],
    beard: ['facialHair', { beard: 'a beard', scruff: 'stubble' }, 0.2],
    clothes: ['shirt', { open: 'open shirt', crew: 'crew-neck shirt', collared: 'collared shirt' }],
    faces: [['smiling', { eyes: 'eyes', mouth: 'smile', eyebrows: 'up' }], ['laughing', { eyes: 'smiling', mouth: 'laughing', eyebrows: 'up' }], ['surprised', { eyes: 'round', mouth: 'surprised', eyebrows: 'up' }], ['sad', { eyes: 'eyes', mouth: 'sad', eyebrows: 'down' }], ['frowning', { eyes: 'eyes', mouth: 'frown', eyebrows: 'down' }], ['nervous', { eyes: 'round', mouth: 'nervous', eyebrows: 'up' }], ['smirking', { eyes: 'eyes', mouth: 'smirk', eyebrows: 'down' }]],
  },
  adventurer: {
    name: 'storybook adventurer', colours: { hairColor: HAIR, skinColor: SKIN },
    hair: ['hair', Object.fromEntries([...['long01', 'long02', 'long03', 'long05', 'long07', 'long08', 'long10', 'long13', 'long16', 'long20'].map((v) => [v, 'long hair']), ...['short01', 'short02', 'short04', 'short06', 'short08', 'short10', 'short12', 'short14', 'short16', 'short19'].map((v) => [v, 'short hair'])])],
    glasses: ['glasses', { variant01: 'glasses', variant02: 'glasses', variant03: 'glasses' }, 0.25],
    faces: [['', {}]],
  },
};

const pick = (random, list) => list[Math.floor(random() * list.length)];

/** Options, caption and parameters of a random avatar; `place` says where it is, a plain background when absent. */
export function avatar(random, styleName, place) {
  const style = STYLES[styleName];
  const options = {}; const words = {}; const colour = {};
  for (const [key, table] of Object.entries(style.colours)) {
    if (!table) continue;
    const name = pick(random, Object.keys(table));
    options[key] = [table[name]]; colour[key] = name;
  }
  if (options.hairColor) { options.facialHairColor = options.hairColor; }
  if (styleName === 'micah') options.eyebrowsColor = options.hairColor;
  for (const part of ['hair', 'extra', 'glasses', 'beard', 'clothes']) {
    if (!style[part]) continue;
    const [key, values, chance] = style[part];
    const on = chance === undefined || random() < chance;
    if (chance !== undefined || part === 'hair') options[`${key}Probability`] = on ? 100 : 0;
    if (!on) { options[key] = []; continue; }
    const value = pick(random, Object.keys(values));
    options[key] = [value]; words[part] = values[value]; words[`${part}Value`] = value;
  }
  const [face, parts] = pick(random, style.faces);
  for (const [key, value] of Object.entries(parts)) options[key] = [value];
  const ground = pick(random, Object.keys(BACKGROUNDS));
  options.backgroundColor = [BACKGROUNDS[ground]];
  if (random() < 0.5) options.flip = random() < 0.5;
  if (random() < 0.3) options.scale = 80 + Math.floor(random() * 40);
  const caption = sentence(random, style, words, colour, face, place ?? `on a ${ground} background`);
  return { options, caption, parameters: { styleName, words, colour, face, ground, place } };
}

function article(words) { return /^(a|an|two|hair|long|short|curly|thin|thick|round|square|dark|big|the)\b/.test(words) ? words : `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`; }

function sentence(random, style, words, colour, face, place) {
  const hasHat = style.hat?.includes(words.hairValue) || ['cap', 'beanie', 'turban'].includes(words.hairValue);
  const bald = ['bald', 'mrClean', 'shavedHead'].includes(words.hairValue);
  const details = [];
  if (words.hair) details.push(hasHat || bald ? words.hair : words.hair.includes('hair') ? words.hair.replace('hair', `${colour.hairColor} hair`) : `${words.hair} of ${colour.hairColor} hair`);
  if (words.extra) details.push(words.extra);
  const skin = colour.skinColor ?? colour.baseColor;
  if (skin) details.push(`${skin} skin`);
  if (words.beard) details.push(words.beard);
  if (words.glasses) details.push(words.glasses);
  const cloth = colour.clothesColor ?? colour.clothingColor ?? colour.shirtColor;
  const wearing = words.clothes ? `wearing ${words.clothes.startsWith('a ') ? `${words.clothes} in ${cloth}` : `a ${cloth} ${words.clothes}`}` : '';
  for (let i = details.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [details[i], details[j]] = [details[j], details[i]]; }
  const list = details.length > 1 ? `${details.slice(0, -1).join(', ')} and ${details.at(-1)}` : details.join('');
  const parts = [
    [`A ${style.name} of a person with ${list}`, wearing, face, place],
    [`${style.name}, ${place.replace(/^on a (.*background)$/, '$1')}: someone ${face ? `${face}, ` : ''}with ${list}`, wearing],
    [`A person with ${list}`, face, wearing, `${place}, ${style.name} style`],
    [`Draw a ${style.name}: a ${face ? `${face} ` : ''}person with ${list}`, wearing, place],
  ];
  return `${pick(random, parts).filter(Boolean).join(', ')}.`;
}

const SCENES = ['on a %g background', 'in front of a plain %g wall', '%g background'];

/** Caption of an object picture, on the plain `ground` or in `place`. */
export function object(random, name, group, ground, place) {
  const scene = place ?? pick(random, SCENES).replace('%g', ground);
  return pick(random, [
    `A 3D icon of ${article(name)}, ${scene}.`, `${name}, glossy 3D render, ${scene}.`, `A picture of ${article(name)}, ${scene}.`,
    `Draw ${article(name)} in 3D emoji style, ${scene}.`,
  ]).replace(/^./, (c) => c.toUpperCase());
}
