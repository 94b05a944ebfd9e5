// Questions with their answers, and short statements, about one rendered picture.
//
// Everything comes from the parameters that the picture was drawn with. What a parameter does not
// settle (the hair under a hat, the face of a style with numbered variants) is not asked about.
import { BACKGROUNDS, PLACES, STYLES } from './captions.mjs';

const pick = (random, list) => list[Math.floor(random() * list.length)];
const capital = (text) => text.replace(/^./, (c) => c.toUpperCase());
const article = (words) => (/^(a|an|the|two)\b/.test(words) ? words : `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`);
const unique = (list) => [...new Set(list)];

const HATS = ['hat', 'hijab', 'turban', 'winterHat1', 'cap', 'beanie'];
const BALD = ['bald', 'mrClean', 'shavedHead', 'sides'];
const GLASSES = ['glasses', 'sunglasses', 'prescription01', 'prescription02', 'round', 'square', 'wayfarers', 'variant01', 'variant02', 'variant03'];

/** Expressions whose eyes and mouth are alike, from whatever style, and cuts of hair of one shape; the first that fits counts. */
const GROUPS = {
  expression: [
    ['winking', /wink|smirk/], ['hearts', /hearts|starstruck/], ['tongue', /tongue/], ['smiling', /smil|laugh|content|shy|cool/], ['crying or sad', /sad|cry|frown|worried|nervous/],
    ['angry', /angry/], ['surprised', /surprised|shock/], ['closed eyes', /sleep/], ['confused', /confused|dizzy/], ['serious', /serious|suspicious|bored/],
  ],
  hair: [
    ['covered', /hat|hijab|turban|cap$|beanie/], ['bald or cropped', /bald|shaved head|buzz|cropped|few strands/], ['tied', /bun|pigtails|puffs|braids|dreadlocks/], ['spiky or raised', /mohawk|spiky|quiff|high top/],
    ['curly', /curly|afro|frizzy/], ['chin-length', /bob|chin-length|bowl|fringe|bangs/], ['long', /long|shoulder-length|mullet/], ['short', /short|side|undercut|fade|pixie|shaggy/],
  ],
};
/** The groups of what `facts` say, where they say it. */
const groups = (facts) => Object.fromEntries(Object.entries(GROUPS).flatMap(([about, list]) => {
  const found = facts[about] && list.find(([, words]) => words.test(facts[about]));
  return found ? [[about, found[0]]] : [];
}));

/** Groups of objects, in words. */
const KINDS = {
  'Smileys & Emotion': 'a face or a feeling', 'People & Body': 'a person or a hand', 'Animals & Nature': 'an animal or a plant', 'Food & Drink': 'food or drink',
  'Travel & Places': 'a vehicle or a place', Activities: 'a game or a festivity', Objects: 'a thing',
};

/** How an attribute is asked about: openly, and as a yes/no question about the value `%v`, `%a` with its article. */
const ASKED = {
  'hair colour': { open: ['What colour is the hair?', "What is the person's hair colour?", 'Which colour is the hair?'], test: ['Is the hair %v?', 'Does the person have %v hair?'], state: 'a person with %v hair' },
  skin: { open: ['What skin colour does the person have?', 'How is the skin?'], test: ['Does the person have %v skin?', 'Is the skin %v?'], state: 'a person with %v skin' },
  'clothes colour': { open: ['What colour are the clothes?', 'Which colour does the person wear?'], test: ['Are the clothes %v?', 'Does the person wear %v clothes?'], state: 'a person in %v clothes' },
  background: { open: ['What colour is the background?', 'Which colour is behind it?'], test: ['Is the background %v?', 'Is this on %a background?'], state: '%a background' },
  place: { open: ['Where is this?', 'What place is in the background?'], test: ['Is this %v?'], state: 'a picture %v' },
  expression: { open: ['What is the expression?', 'How does the person look?', 'What does the face show?'], test: ['Is the person %v?', 'Is this a person %v?'], state: 'a person %v' },
  hair: { open: ['What is on the head?', 'How is the hair cut?'], test: ['Does the person have %v?'], state: 'a person with %v' },
  glasses: { test: ['Does the person wear glasses?', 'Are there glasses?', 'Is the person wearing glasses or sunglasses?'], state: { yes: 'a person with glasses', no: 'a person without glasses' } },
  beard: { test: ['Does the person have a beard or a moustache?', 'Is there facial hair?'], state: { yes: 'a person with a beard or a moustache', no: 'a person without a beard' } },
  hat: { test: ['Does the person wear something on the head?', 'Is there a hat or a head covering?'], state: { yes: 'a person with a hat', no: 'a person without a hat' } },
  subject: { open: ['What is this?', 'What does the picture show?', 'What do you see?'], test: ['Is this %a?', 'Does the picture show %a?'], state: 'a picture of %a' },
  kind: { open: ['What kind of thing is this?'], test: ['Is this %v?'], state: '%v' },
  person: { test: ['Is there a person in the picture?', 'Is this a portrait of a person?'], state: { yes: 'a portrait of a person', no: 'a picture of a thing' } },
};

/** Values that an attribute can have; the answers that are wrong come from here. */
function values(about, style) {
  const table = (keys) => Object.keys(keys.map((key) => style.colours[key]).find(Boolean) ?? {});
  switch (about) {
    case 'hair colour': return table(['hairColor']);
    case 'skin': return table(['skinColor', 'baseColor']);
    case 'clothes colour': return table(['clothesColor', 'clothingColor', 'shirtColor']);
    case 'background': return Object.keys(BACKGROUNDS);
    case 'place': return Object.values(PLACES);
    case 'expression': return style.faces.map(([face]) => face).filter(Boolean);
    case 'hair': return unique(Object.values(style.hair[1]));
    case 'kind': return Object.values(KINDS);
    default: return ['yes', 'no'];
  }
}

/** What is certain about an avatar of ./captions.mjs, by attribute. */
export function avatarFacts({ styleName, words, colour, face, ground, place }) {
  const { hairValue, glassesValue } = words;
  const facts = { person: 'yes' };
  const covered = HATS.includes(hairValue) || BALD.includes(hairValue);
  if (!covered) facts['hair colour'] = colour.hairColor;
  if (words.hair) facts.hair = words.hair;
  facts.skin = colour.skinColor ?? colour.baseColor;
  const cloth = colour.clothesColor ?? colour.clothingColor ?? colour.shirtColor;
  if (words.clothes && cloth) facts['clothes colour'] = cloth;
  if (face) facts.expression = face;
  facts.glasses = GLASSES.includes(glassesValue) || /glasses/.test(face) ? 'yes' : 'no';
  facts.beard = words.beard || glassesValue === 'mustache' ? 'yes' : 'no';
  if (styleName !== 'adventurer') facts.hat = HATS.includes(hairValue) ? 'yes' : 'no';
  if (place) facts.place = place; else facts.background = ground;
  return facts;
}

/** What is certain about an object picture. */
export function objectFacts({ name, group, ground, place }) {
  const facts = { subject: name, kind: KINDS[group] };
  if (group !== 'People & Body' && group !== 'Smileys & Emotion') facts.person = 'no';
  if (place) facts.place = place; else facts.background = ground;
  return facts;
}

/** Names that a picture may be said to be of; whoever is asked for a caption is told one. */
const NAMES = [
  'Ada', 'Amir', 'Beatrix', 'Chidi', 'Dolores', 'Emil', 'Farah', 'Gus', 'Hana', 'Igor', 'Juniper', 'Kofi', 'Lin', 'Mateo', 'Nadia', 'Otto',
  'Pepper', 'Quentin', 'Rosa', 'Sven', 'Tansy', 'Umar', 'Vera', 'Willow', 'Xenia', 'Yuki', 'Zadie', 'Captain Moss', 'Old Fennel', 'Doctor Plum',
];
/** What the studio asks when it drafts a caption, and what training asks of a scene's picture. */
const DESCRIBED = ['Write a short caption for this picture of %n.', 'Write a short caption for this picture of %n.', 'Describe what this picture of %n shows.'];

/** A caption that begins with a name: looks, expression and where it is, as far as they are certain. */
function description(random, facts) {
  const name = pick(random, NAMES);
  const parts = [name];
  if (facts.subject) parts.push(`, ${article(facts.subject)}`);
  if (facts['hair colour']) parts.push(` with ${facts['hair colour']} hair`);
  if (facts.glasses === 'yes') parts.push(facts['hair colour'] ? ' and glasses' : ' with glasses');
  if (facts['clothes colour']) parts.push(`, in ${facts['clothes colour']} clothes`);
  if (facts.expression) parts.push(`, ${facts.expression}`);
  if (facts.place) parts.push(`, ${facts.place}`);
  if (facts.background) parts.push(`, on ${article(facts.background)} background`);
  return { about: 'description', kind: 'description', question: pick(random, DESCRIBED).replace('%n', name), answer: `${parts.join('')}.` };
}

/** Shares of pictures with the two kinds of questions that are long to read. */
const CHOICES = 0.5; const DESCRIPTIONS = 0.35;

const fill = (text, value) => text.replace('%v', value).replace('%a', article(value));
const answer = (value) => `${capital(value)}.`;

function wrong(random, about, truth, style, names) {
  const others = (about === 'subject' ? names : values(about, style)).filter((value) => value !== truth);
  return pick(random, others);
}

function openQuestion(random, about, truth) {
  return { about, kind: 'open', question: pick(random, ASKED[about].open), answer: answer(truth) };
}

/** Of a value, the right one and a wrong one, in any order: only the picture tells which answer belongs to which. */
function yesNo(random, about, truth, style, names) {
  const asked = pick(random, ASKED[about].test);
  const question = (value, said) => ({ about, kind: 'yes-no', question: fill(asked, value), answer: said });
  if (!asked.includes('%')) return [question('', answer(truth))];
  const both = [question(truth, 'Yes.'), question(wrong(random, about, truth, style, names), 'No.')];
  return random() < 0.5 ? both : both.reverse();
}

function choice(random, about, truth, style, names) {
  const options = new Set([truth]);
  for (let i = 0; i < 20 && options.size < 4; i++) options.add(wrong(random, about, truth, style, names));
  const list = [...options];
  for (let i = list.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [list[i], list[j]] = [list[j], list[i]]; }
  const question = `${pick(random, ASKED[about].open)} Choose from: ${list.join('; ')}.`;
  return { about, kind: 'choice', question, answer: answer(truth) };
}

/**
 * Questions and statements about a picture with these `facts`; `names` are the subjects there are.
 *
 * A yes/no question about a value is asked with the right one and with a wrong one; of
 * those without a value (glasses, beard, hat, person) the rarer answer is kept always and the
 * commoner one as often as `commoner` says, so that both answers come equally often.
 */
export function questions(random, facts, styleName, names, commoner = { glasses: 0.27, beard: 0.2, hat: 0.07, person: 0.5 }) {
  const style = STYLES[styleName];
  const all = Object.entries(facts);
  const statements = Object.fromEntries(all.map(([about, value]) => {
    const state = ASKED[about].state;
    return [about, typeof state === 'string' ? fill(state, value) : state[value]];
  }));
  const shuffled = (list) => list.map((item) => [random(), item]).sort((a, b) => a[0] - b[0]).map(([, item]) => item);
  const open = shuffled(all.filter(([about]) => ASKED[about].open));
  const closed = shuffled(all).filter(([about, value]) => {
    if (!(about in commoner)) return true;
    return value === 'yes' || random() < commoner[about];
  });
  const asked = [
    ...open.slice(0, 3).map(([about, value]) => openQuestion(random, about, value)),
    ...closed.slice(0, 4).flatMap(([about, value]) => yesNo(random, about, value, style, names)),
    ...shuffled(open).slice(0, random() < CHOICES ? 1 : 0).map(([about, value]) => choice(random, about, value, style, names)),
    ...(random() < DESCRIPTIONS ? [description(random, facts)] : []),
  ];
  return { questions: asked, statements, groups: groups(facts) };
}
