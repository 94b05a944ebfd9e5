// Amara Nwosu-Hale, a volcanologist.
import { portrait } from '../portrait.mjs';

const style = 'avataaars';
const identity = {
  top: ['bun'], topProbability: 100, hairColor: ['1f1712'], skinColor: ['6d4630'], facialHairProbability: 0, clothing: ['hoodie'], clothesColor: ['f28c33'],
  accessories: ['round'], accessoriesProbability: 100, accessoriesColor: ['d63a3a'], nose: ['default'],
};
const face = (eyes, mouth, eyebrows) => ({ eyes: [eyes], mouth: [mouth], eyebrows: [eyebrows] });
const draw = (scene, look, props, colours) => portrait({ style, identity, face: look, scene, props, colours, size: 268, x: -6, y: 10 });

export const pictures = {
  'volcano-gleeful': draw('volcano', face('happy', 'smile', 'raisedExcited'), ['1f9ea']),
  'laboratory-curious': draw('laboratory', face('default', 'twinkle', 'upDown'), [undefined, '1f52c']),
  'bedroom-asleep': draw('bedroom', face('closed', 'twinkle', 'defaultNatural'), ['1f9f3']),
  'desert-cheeky': draw('desert', face('wink', 'tongue', 'upDown'), [undefined, '1f336']),
  'kitchen-alarmed': draw('kitchen', face('surprised', 'screamOpen', 'raisedExcitedNatural'), ['1f373']),
  'airship-dizzy': draw('airship', face('xDizzy', 'grimace', 'sadConcerned'), [undefined, '1f30b']),
  'rain-gloomy': draw('rainyWindow', face('default', 'sad', 'sadConcernedNatural'), ['2708']),
  'cave-enchanted': draw('cave', face('hearts', 'smile', 'raisedExcited'), [undefined, '1f48e']),
  'classroom-patient': draw('classroom', face('default', 'smile', 'defaultNatural'), ['1f34e']),
  'market-sceptical': draw('market', face('side', 'serious', 'upDownNatural'), [undefined, '1f9ef']),
  'sea-wistful': draw('sea', face('cry', 'twinkle', 'sadConcerned'), ['1f41a']),
  'camp-cosy': draw('camp', face('happy', 'eating', 'defaultNatural'), [undefined, '1f954']),
  'snow-grumpy': draw('snow', face('squint', 'serious', 'angry'), ['1f9e4']),
  'stage-nervous': draw('stage', face('surprised', 'concerned', 'sadConcernedNatural'), [undefined, '1f3c6']),
  'moon-gleeful': draw('moon', face('happy', 'smile', 'raisedExcited'), ['1faa8']),
};
