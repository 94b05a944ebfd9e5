// Elio Brandt, a failed stage magician turned librarian.
import { portrait } from '../portrait.mjs';

const style = 'avataaars';
const identity = {
  top: ['shortWaved'],
  topProbability: 100,
  hairColor: ['a55728'],
  facialHair: ['moustacheFancy'],
  facialHairProbability: 100,
  facialHairColor: ['a55728'],
  skinColor: ['ffe0cc'],
  clothing: ['blazerAndShirt'],
  clothesColor: ['262e33'],
  accessoriesProbability: 0,
};

const faces = {
  beaming: { eyes: ['happy'], mouth: ['smile'], eyebrows: ['defaultNatural'] },
  welcoming: { eyes: ['default'], mouth: ['smile'], eyebrows: ['default'] },
  knowing: { eyes: ['wink'], mouth: ['twinkle'], eyebrows: ['upDown'] },
  downcast: { eyes: ['default'], mouth: ['sad'], eyebrows: ['sadConcerned'] },
  overcome: { eyes: ['cry'], mouth: ['sad'], eyebrows: ['sadConcernedNatural'] },
  outraged: { eyes: ['squint'], mouth: ['serious'], eyebrows: ['angry'] },
  baffled: { eyes: ['surprised'], mouth: ['disbelief'], eyebrows: ['raisedExcited'] },
  panicked: { eyes: ['surprised'], mouth: ['screamOpen'], eyebrows: ['raisedExcitedNatural'] },
  smitten: { eyes: ['hearts'], mouth: ['smile'], eyebrows: ['raisedExcited'] },
  napping: { eyes: ['closed'], mouth: ['serious'], eyebrows: ['flatNatural'] },
  silly: { eyes: ['happy'], mouth: ['tongue'], eyebrows: ['raisedExcited'] },
  sceptical: { eyes: ['side'], mouth: ['serious'], eyebrows: ['upDownNatural'] },
  anxious: { eyes: ['default'], mouth: ['concerned'], eyebrows: ['sadConcernedNatural'] },
  dazed: { eyes: ['xDizzy'], mouth: ['grimace'], eyebrows: ['frownNatural'] },
};

const drawn = (picture) => portrait({ style, identity, y: 2, size: 272, x: -8, ...picture });

export const pictures = {
  'book-beaming': drawn({ face: faces.beaming, scene: 'library', props: ['1f4da'] }), // stack of books
  'rabbit-welcoming': drawn({ face: faces.welcoming, scene: 'plain', colours: ['#58a65c'], props: [null, '1f430'] }), // rabbit
  'card-knowing': drawn({ face: faces.knowing, scene: 'cafe', props: ['1f0cf'] }), // joker card
  'dove-panicked': drawn({ face: faces.panicked, scene: 'stage', props: [null, '1f54a-fe0f'] }), // dove
  'hat-downcast': drawn({ face: faces.downcast, scene: 'plain', colours: ['#d9d9de'], props: ['1f3a9'] }), // top hat
  'letter-overcome': drawn({ face: faces.overcome, scene: 'classroom', props: [null, '2709-fe0f'] }), // envelope
  'scissors-outraged': drawn({ face: faces.outraged, scene: 'workshop', props: ['2702-fe0f'] }), // scissors
  'clock-baffled': drawn({ face: faces.baffled, scene: 'clockTower', props: [null, '1f570-fe0f'] }), // mantelpiece clock
  'rose-smitten': drawn({ face: faces.smitten, scene: 'garden', props: ['1f339'] }), // rose
  'candle-napping': drawn({ face: faces.napping, scene: 'library', props: [null, '1f56f-fe0f'] }), // candle
  'balloon-silly': drawn({ face: faces.silly, scene: 'festival', props: ['1f388'] }), // balloon
  'key-sceptical': drawn({ face: faces.sceptical, scene: 'street', props: [null, '1f5dd-fe0f'] }), // old key
  'crystal-dazed': drawn({ face: faces.dazed, scene: 'plain', colours: ['#1b1b20'], props: ['1f52e'] }), // crystal ball
  'telephone-anxious': drawn({ face: faces.anxious, scene: 'plain', colours: ['#b6e3b0'], props: [null, '260e-fe0f'] }), // telephone
  'bicycle-smiling': drawn({ face: faces.beaming, scene: 'park', props: ['1f6b2'] }), // bicycle
};
