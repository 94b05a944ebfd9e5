// Rowan Tanglewood, an apprentice witch: one plain ground, one face and one thing in each picture.
import { portrait } from '../portrait.mjs';

const style = 'micah';
const identity = {
  hair: ['pixie'], hairProbability: 100, hairColor: ['a55728'], baseColor: ['f3c6a3'], shirt: ['collared'], shirtColor: ['3f9150'],
  glasses: ['round'], glassesProbability: 100, glassesColor: ['262e33'], nose: ['curve'], ears: ['attached'],
  earringsProbability: 0, facialHairProbability: 0, eyebrowsColor: ['a55728'], eyeShadowColor: ['f3c6a3'], mouthColor: ['1b1b20'],
};
const face = (eyes, mouth, eyebrows) => ({ eyes: [eyes], mouth: [mouth], eyebrows: [eyebrows] });
const faces = {
  smiling: face('eyes', 'smile', 'up'), laughing: face('smiling', 'laughing', 'up'), surprised: face('round', 'surprised', 'up'),
  sad: face('eyes', 'sad', 'down'), frowning: face('eyes', 'frown', 'down'), nervous: face('round', 'nervous', 'up'),
  smirking: face('eyes', 'smirk', 'down'), delighted: face('smiling', 'smile', 'up'), concentrating: face('eyes', 'pucker', 'down'),
  whistling: face('smiling', 'pucker', 'up'), alarmed: face('round', 'frown', 'up'), sheepish: face('smiling', 'nervous', 'down'),
};
const ground = {
  white: '#ffffff', 'light grey': '#d9d9de', black: '#1b1b20', red: '#d8453c', orange: '#f0913a', yellow: '#f7d54a', green: '#58a65c',
  'light green': '#b6e3b0', blue: '#3f74d1', 'light blue': '#a9d6f5', purple: '#8a5cc2', pink: '#f5b3cc', brown: '#8a5a3c', teal: '#2f9c95',
};
const low = (emoji) => ({ emoji, x: 160, y: 160, size: 92 });
const high = (emoji) => ({ emoji, x: 176, y: 4, size: 78 });
const draw = (look, colour, thing) => portrait({
  style, identity, face: faces[look], scene: { svg: `<rect width="256" height="256" fill="${ground[colour]}"/>` }, props: [thing],
});

export const pictures = {
  'kettle-welcome': draw('smiling', 'light green', low('1fad6')),
  'list-nervous': draw('nervous', 'yellow', low('1f4cb')),
  'frog-surprise': draw('surprised', 'teal', low('1f438')),
  'deed-smirk': draw('smirking', 'purple', low('1f4dc')),
  'blossom-laugh': draw('laughing', 'pink', low('1f338')),
  'rain-sad': draw('sad', 'blue', high('1f327')),
  'stew-frown': draw('frowning', 'brown', low('1f372')),
  'owl-concentrate': draw('concentrating', 'black', low('1f989')),
  'mushroom-whistle': draw('whistling', 'orange', low('1f344')),
  'broom-delight': draw('delighted', 'light blue', low('1f9f9')),
  'candle-alarm': draw('alarmed', 'red', low('1f56f')),
  'hedgehog-sheepish': draw('sheepish', 'white', low('1f994')),
  'moon-smile': draw('smiling', 'light grey', high('1f315')),
  'hat-laugh': draw('laughing', 'purple', low('1f3a9')),
};
