// Ines Calloway, a lift engineer in an old department store.
import { portrait } from '../portrait.mjs';

const style = 'micah';
const identity = {
  base: ['standard'], baseColor: ['ae6a3a'], hair: ['pixie'], hairProbability: 100, hairColor: ['1f1712'], eyebrowsColor: ['1f1712'], ears: ['attached'], nose: ['curve'],
  shirt: ['collared'], shirtColor: ['3b6fd4'], glasses: ['round'], glassesProbability: 100, glassesColor: ['d9a62b'], earringsProbability: 0, facialHairProbability: 0,
  eyesColor: ['000000'], mouthColor: ['000000'],
};
const face = (eyes, mouth, eyebrows) => ({ eyes: [eyes], mouth: [mouth], eyebrows: [eyebrows] });
const draw = (scene, look, props, colours) => portrait({ style, identity, face: look, scene, props, colours });

export const pictures = {
  'doors-composed': draw('shopHall', face('eyes', 'smile', 'up'), ['1f514']),
  'shaft-focused': draw('liftShaft', face('eyes', 'pucker', 'down'), [undefined, '1f527']),
  'workshop-smirking': draw('workshop', face('eyes', 'smirk', 'down'), ['2699']),
  'cafe-amused': draw('cafe', face('smiling', 'smile', 'up'), [undefined, '2615']),
  'rooftop-wistful': draw('rooftop', face('eyes', 'sad', 'up'), ['1f54a']),
  'street-annoyed': draw('street', face('eyes', 'frown', 'down'), [undefined, '1f6a7']),
  'clock-alarmed': draw('clockTower', face('round', 'surprised', 'up'), ['23f0']),
  'library-studious': draw('library', face('round', 'pucker', 'up'), [undefined, '1f4d0']),
  'stage-nervous': draw('stage', face('round', 'nervous', 'up'), ['1f3a4']),
  'festival-laughing': draw('festival', face('smiling', 'laughing', 'up'), [undefined, '1f388']),
  'rain-sad': draw('rainyWindow', face('eyes', 'sad', 'down'), ['1f4f7']),
  'garden-content': draw('garden', face('smiling', 'pucker', 'up'), [undefined, '1fab4']),
  'mountain-doubtful': draw('mountain', face('round', 'frown', 'down'), ['1f6a1']),
  'train-delighted': draw('train', face('round', 'laughing', 'up'), [undefined, '1f9f3']),
  'moon-composed': draw('moon', face('eyes', 'smile', 'up'), ['1f680']),
};
