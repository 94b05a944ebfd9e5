// Teo Lindqvist, eleven, who knows the railway timetable by heart.
import { portrait } from '../portrait.mjs';

const style = 'avataaars';
const identity = {
  top: ['shortCurly'], topProbability: 100, hairColor: ['c93305'], skinColor: ['ffe0cc'], facialHairProbability: 0, clothing: ['collarAndSweater'], clothesColor: ['3f9150'],
  accessoriesProbability: 0, nose: ['default'],
};
const face = (eyes, mouth, eyebrows) => ({ eyes: [eyes], mouth: [mouth], eyebrows: [eyebrows] });
const draw = (scene, look, props, colours) => portrait({ style, identity, face: look, scene, props, colours });

export const pictures = {
  'platform-eager': draw('platform', face('default', 'smile', 'raisedExcited'), ['1f682']),
  'train-content': draw('train', face('happy', 'twinkle', 'defaultNatural'), [undefined, '1f96a']),
  'cafe-negotiating': draw('cafe', face('squint', 'twinkle', 'upDown'), ['1f36a']),
  'clock-impatient': draw('clockTower', face('eyeRoll', 'serious', 'flatNatural'), [undefined, '231a']),
  'classroom-bored': draw('classroom', face('default', 'serious', 'flatNatural'), ['1f4d0']),
  'snow-worried': draw('snow', face('default', 'concerned', 'sadConcerned'), [undefined, '1f9e3']),
  'bedroom-asleep': draw('bedroom', face('closed', 'serious', 'defaultNatural'), ['1f9f8']),
  'rain-sad': draw('rainyWindow', face('default', 'sad', 'sadConcernedNatural'), [undefined, '1f4f1']),
  'mountain-astonished': draw('mountain', face('surprised', 'disbelief', 'raisedExcitedNatural'), ['1f683']),
  'festival-cheeky': draw('festival', face('wink', 'tongue', 'upDown'), [undefined, '1f3c5']),
  'harbour-suspicious': draw('harbour', face('side', 'serious', 'upDownNatural'), ['26f4']),
  'library-dreamy': draw('library', face('hearts', 'smile', 'raisedExcited'), [undefined, '1f5fa']),
  'beach-outraged': draw('beach', face('squint', 'grimace', 'angry'), ['1f366']),
  'night-tearful': draw('night', face('cry', 'smile', 'raisedExcitedNatural'), [undefined, '1f687']),
  'castle-eager': draw('castleHall', face('default', 'smile', 'raisedExcited'), ['1f451']),
};
