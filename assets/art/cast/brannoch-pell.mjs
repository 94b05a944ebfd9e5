// Brannoch Pell, a retired lighthouse keeper.
import { portrait } from '../portrait.mjs';

const style = 'avataaars';
const identity = {
  top: ['winterHat1'], topProbability: 100, hatColor: ['3b6fd4'], hairColor: ['bcb8b4'], skinColor: ['f3c6a3'], facialHair: ['beardMajestic'], facialHairProbability: 100,
  facialHairColor: ['bcb8b4'], clothing: ['hoodie'], clothesColor: ['f5cf45'], accessoriesProbability: 0, nose: ['default'],
};
const face = (eyes, mouth, eyebrows) => ({ eyes: [eyes], mouth: [mouth], eyebrows: [eyebrows] });
const draw = (scene, look, props, colours) => portrait({ style, identity, face: look, scene, props, colours });

export const pictures = {
  'harbour-gruff': draw('harbour', face('squint', 'serious', 'flatNatural'), ['1f41f']),
  'kitchen-content': draw('kitchen', face('happy', 'smile', 'default'), [undefined, '1fad6']),
  'storm-alert': draw('storm', face('surprised', 'serious', 'raisedExcitedNatural'), ['1f526']),
  'lamp-proud': draw('lampRoom', face('default', 'smile', 'raisedExcited'), ['1f511']),
  'window-wistful': draw('rainyWindow', face('side', 'sad', 'sadConcernedNatural'), [undefined, '2709']),
  'bedroom-asleep': draw('bedroom', face('closed', 'serious', 'defaultNatural'), ['1f9e6']),
  'street-grumpy': draw('street', face('default', 'serious', 'angryNatural'), [undefined, '2602']),
  'garden-tender': draw('garden', face('hearts', 'twinkle', 'default'), ['1f425']),
  'radio-joking': draw('radioStudio', face('wink', 'twinkle', 'upDown'), [undefined, '1f4fb']),
  'sea-worried': draw('sea', face('default', 'concerned', 'sadConcerned'), ['1f6df']),
  'snow-surprised': draw('snow', face('surprised', 'disbelief', 'raisedExcited'), [undefined, '26c4']),
  'festival-tearful': draw('festival', face('cry', 'smile', 'raisedExcitedNatural'), ['1f382']),
  'lighthouse-laughing': draw('lighthouse', face('happy', 'tongue', 'raisedExcited'), [undefined, '1f9ed']),
  'night-sceptical': draw('night', face('eyeRoll', 'serious', 'upDownNatural'), ['1f52d']),
  'beach-gruff': draw('beach', face('squint', 'serious', 'flatNatural'), [undefined, '1f980']),
};
