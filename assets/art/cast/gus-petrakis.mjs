// Gus Petrakis, night cook of a diner that never closes.
import { portrait } from '../portrait.mjs';

const style = 'personas';
const identity = {
  hair: ['bald'], hairColor: ['1f1712'], skinColor: ['d99a62'], facialHair: ['walrus'], facialHairProbability: 100, body: ['squared'], clothingColor: ['f6f6f6'], nose: ['wrinkles'],
};
const face = (eyes, mouth) => ({ eyes: [eyes], mouth: [mouth] });
const draw = (scene, look, props, colours) => portrait({ style, identity, face: look, scene, props, colours });

export const pictures = {
  'diner-welcoming': draw('diner', face('open', 'smile'), ['1f373']),
  'kitchen-jolly': draw('kitchen', face('happy', 'bigSmile'), [undefined, '1f95e']),
  'street-tired': draw('street', face('sleep', 'frown'), ['1f9f9']),
  'night-thoughtful': draw('night', face('open', 'lips'), [undefined, '2615']),
  'market-sly': draw('market', face('wink', 'smirk'), ['1f345']),
  'rain-sad': draw('rainyWindow', face('open', 'frown'), [undefined, '1f4ee']),
  'stage-startled': draw('stage', face('open', 'surprise'), ['1fa97']),
  'bedroom-asleep': draw('bedroom', face('sleep', 'lips'), [undefined, '1f321']),
  'harbour-tender': draw('harbour', face('happy', 'smile'), ['1f41f']),
  'garden-dry': draw('garden', face('open', 'smirk'), [undefined, '1f9c5']),
  'festival-singing': draw('festival', face('happy', 'surprise'), ['1f370']),
  'library-stubborn': draw('library', face('happy', 'frown'), [undefined, '1f4d6']),
  'rooftop-dreaming': draw('rooftop', face('sleep', 'smile'), ['1f353']),
  'snow-roguish': draw('snow', face('wink', 'bigSmile'), [undefined, '1f372']),
  'space-startled': draw('space', face('open', 'surprise'), ['1f354']),
};
