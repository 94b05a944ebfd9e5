// Dov Marlowe, chess coach in a boxing gym.
import { portrait } from '../portrait.mjs';

const style = 'personas';
const identity = {
  hair: ['buzzcut'],
  hairColor: ['1f1712'],
  skinColor: ['d99a62'],
  facialHair: ['walrus'],
  facialHairProbability: 100,
  body: ['squared'],
  clothingColor: ['d63a3a'],
  nose: ['mediumRound'],
};

const faces = {
  encouraging: { eyes: ['open'], mouth: ['smile'] },
  roaring: { eyes: ['happy'], mouth: ['bigSmile'] },
  stern: { eyes: ['open'], mouth: ['frown'] },
  shocked: { eyes: ['open'], mouth: ['surprise'] },
  resting: { eyes: ['sleep'], mouth: ['lips'] },
  sly: { eyes: ['wink'], mouth: ['smirk'] },
  studying: { eyes: ['glasses'], mouth: ['smile'] },
  cool: { eyes: ['sunglasses'], mouth: ['smirk'] },
  marking: { eyes: ['glasses'], mouth: ['frown'] },
  glad: { eyes: ['happy'], mouth: ['smile'] },
  worn: { eyes: ['sleep'], mouth: ['frown'] },
  cocky: { eyes: ['open'], mouth: ['smirk'] },
  thinking: { eyes: ['open'], mouth: ['lips'] },
  amazed: { eyes: ['glasses'], mouth: ['surprise'] },
};

const rope = (y, colour) => `<path d="M0 ${y} H256" stroke="${colour}" stroke-width="9"/>`;
const ring = `<rect width="256" height="256" fill="#7f93a8"/><rect y="186" width="256" height="70" fill="#e4ddcb"/>${rope(76, '#d63a3a')}${rope(116, '#f6f6f6')}${rope(156, '#3b6fd4')}`
  + '<rect x="8" y="56" width="22" height="136" rx="6" fill="#3a3f4b"/><rect x="226" y="56" width="22" height="136" rx="6" fill="#3a3f4b"/>'
  + '<path d="M50 0 H86 L78 20 H58 z M170 0 H206 L198 20 H178 z" fill="#3a3230"/><path d="M58 20 H78 L84 28 H52 z M178 20 H198 L204 28 H172 z" fill="#ffe28a"/>';

const drawn = (picture) => portrait({ style, identity, ...picture });

export const pictures = {
  'glove-encouraging': drawn({ face: faces.encouraging, scene: 'plain', colours: ['#a9d6f5'], props: ['1f94a'] }), // boxing glove
  'trophy-roaring': drawn({ face: faces.roaring, scene: 'festival', props: [null, '1f3c6'] }), // trophy
  'clock-stern': drawn({ face: faces.stern, scene: { svg: ring }, props: ['23f0'] }), // alarm clock
  'pawn-shocked': drawn({ face: faces.shocked, scene: 'plain', colours: ['#8a5cc2'], props: [null, '265f-fe0f'] }), // chess pawn
  'bell-resting': drawn({ face: faces.resting, scene: { svg: ring }, props: ['1f514'] }), // bell
  'coffee-sly': drawn({ face: faces.sly, scene: 'cafe', props: [null, '2615'] }), // hot coffee
  'book-studying': drawn({ face: faces.studying, scene: 'library', props: ['1f4d6'] }), // open book
  'sun-cool': drawn({ face: faces.cool, scene: 'harbour', props: [null, '1f31e'] }), // sun
  'notebook-marking': drawn({ face: faces.marking, scene: 'classroom', props: ['1f4dd'] }), // memo
  'violin-glad': drawn({ face: faces.glad, scene: 'stage', props: [null, '1f3bb'] }), // violin
  'rain-worn': drawn({ face: faces.worn, scene: 'rainyWindow', props: ['2614'] }), // umbrella
  'medal-cocky': drawn({ face: faces.cocky, scene: 'plain', colours: ['#1b1b20'], props: [null, '1f3c5'] }), // medal
  'postcard-thinking': drawn({ face: faces.thinking, scene: 'kitchen', props: ['2709-fe0f'] }), // envelope
  'phone-amazed': drawn({ face: faces.amazed, scene: 'plain', colours: ['#b6e3b0'], props: [null, '260e-fe0f'] }), // telephone
  'cucumber-smiling': drawn({ face: faces.encouraging, scene: 'market', props: ['1f952'] }), // cucumber
};
