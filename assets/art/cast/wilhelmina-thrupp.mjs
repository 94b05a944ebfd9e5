// Lady Wilhelmina Thrupp, amateur detective of a country village.
import { portrait } from '../portrait.mjs';

const style = 'avataaars';
const identity = {
  top: ['bun'],
  topProbability: 100,
  hairColor: ['bcb8b4'],
  skinColor: ['f3c6a3'],
  clothing: ['blazerAndSweater'],
  clothesColor: ['7a4fc0'],
  accessories: ['round'],
  accessoriesProbability: 100,
  accessoriesColor: ['d9a62b'],
  facialHairProbability: 0,
};

const faces = {
  triumphant: { eyes: ['happy'], mouth: ['smile'], eyebrows: ['defaultNatural'] },
  gracious: { eyes: ['default'], mouth: ['smile'], eyebrows: ['default'] },
  conspiratorial: { eyes: ['wink'], mouth: ['twinkle'], eyebrows: ['upDown'] },
  mournful: { eyes: ['default'], mouth: ['sad'], eyebrows: ['raisedExcitedNatural'] },
  moved: { eyes: ['cry'], mouth: ['sad'], eyebrows: ['raisedExcitedNatural'] },
  indignant: { eyes: ['squint'], mouth: ['serious'], eyebrows: ['angry'] },
  astonished: { eyes: ['surprised'], mouth: ['disbelief'], eyebrows: ['raisedExcited'] },
  horrified: { eyes: ['surprised'], mouth: ['screamOpen'], eyebrows: ['raisedExcitedNatural'] },
  enchanted: { eyes: ['hearts'], mouth: ['smile'], eyebrows: ['raisedExcited'] },
  dozing: { eyes: ['closed'], mouth: ['serious'], eyebrows: ['flatNatural'] },
  exasperated: { eyes: ['eyeRoll'], mouth: ['serious'], eyebrows: ['flatNatural'] },
  suspicious: { eyes: ['side'], mouth: ['serious'], eyebrows: ['upDownNatural'] },
  worried: { eyes: ['default'], mouth: ['concerned'], eyebrows: ['raisedExcitedNatural'] },
  grave: { eyes: ['default'], mouth: ['serious'], eyebrows: ['flatNatural'] },
};

const dot = (x, y, r, fill) => `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}"/>`;
const pearls = dot(77, 129, 6, '#fffaf0') + dot(179, 129, 6, '#fffaf0');
const cheeks = dot(90, 137, 11, 'rgba(236,110,120,0.35)') + dot(166, 137, 11, 'rgba(236,110,120,0.35)');

const drawn = (picture) => portrait({ style, identity, y: 4, size: 270, x: -7, above: cheeks + pearls, ...picture });

export const pictures = {
  'magnifier-suspicious': drawn({ face: faces.suspicious, scene: 'library', props: ['1f50d'] }), // magnifying glass
  'teapot-gracious': drawn({ face: faces.gracious, scene: 'rainyWindow', props: [null, '1fad6'] }), // teapot
  'jam-triumphant': drawn({ face: faces.triumphant, scene: 'kitchen', props: ['1f36f'] }), // honey pot
  'letter-conspiratorial': drawn({ face: faces.conspiratorial, scene: 'street', props: [null, '2709-fe0f'] }), // envelope
  'rose-enchanted': drawn({ face: faces.enchanted, scene: 'plain', colours: ['#d8453c'], props: ['1f339'] }), // rose
  'goose-horrified': drawn({ face: faces.horrified, scene: 'park', props: [null, '1f9a2'] }), // swan
  'clock-dozing': drawn({ face: faces.dozing, scene: 'bedroom', props: ['1f570-fe0f'] }), // mantelpiece clock
  'cake-exasperated': drawn({ face: faces.exasperated, scene: 'festival', props: [null, '1f370'] }), // shortcake
  'umbrella-mournful': drawn({ face: faces.mournful, scene: 'plain', colours: ['#d9d9de'], props: ['2614'] }), // umbrella
  'dog-moved': drawn({ face: faces.moved, scene: 'garden', props: [null, '1f436'] }), // dog
  'key-astonished': drawn({ face: faces.astonished, scene: 'plain', colours: ['#ffffff'], props: ['1f5dd-fe0f'] }), // old key
  'bicycle-indignant': drawn({ face: faces.indignant, scene: 'meadow', props: [null, '1f6b2'] }), // bicycle
  'candle-grave': drawn({ face: faces.grave, scene: 'castleHall', props: ['1f56f-fe0f'] }), // candle
  'phone-worried': drawn({ face: faces.worried, scene: 'plain', colours: ['#b6e3b0'], props: [null, '260e-fe0f'] }), // telephone
  'trophy-smiling': drawn({ face: faces.gracious, scene: 'plain', colours: ['#8a5cc2'], props: ['1f3c6'] }), // trophy
};
