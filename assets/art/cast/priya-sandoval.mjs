// Priya Sandoval, night host of a radio show of lost and found things.
import { portrait } from '../portrait.mjs';

const style = 'micah';
const identity = {
  hair: ['full'],
  hairProbability: 100,
  hairColor: ['1f1712'],
  eyebrowsColor: ['1f1712'],
  baseColor: ['ae6a3a'],
  shirt: ['crew'],
  shirtColor: ['f5cf45'],
  glassesProbability: 0,
  facialHairProbability: 0,
  earrings: ['hoop'],
  earringsProbability: 100,
  earringColor: ['d9a62b'],
  mouthColor: ['000000'],
  nose: ['curve'],
  ears: ['attached'],
};

const faces = {
  serene: { eyes: ['eyes'], mouth: ['smile'], eyebrows: ['up'] },
  amused: { eyes: ['smiling'], mouth: ['laughing'], eyebrows: ['up'] },
  startled: { eyes: ['round'], mouth: ['surprised'], eyebrows: ['up'] },
  wistful: { eyes: ['eyes'], mouth: ['sad'], eyebrows: ['down'] },
  concerned: { eyes: ['eyes'], mouth: ['frown'], eyebrows: ['down'] },
  uneasy: { eyes: ['round'], mouth: ['nervous'], eyebrows: ['up'] },
  playful: { eyes: ['eyes'], mouth: ['smirk'], eyebrows: ['down'] },
  hushed: { eyes: ['eyes'], mouth: ['pucker'], eyebrows: ['up'] },
  glowing: { eyes: ['smiling'], mouth: ['smile'], eyebrows: ['up'] },
  tender: { eyes: ['eyes'], mouth: ['smile'], eyebrows: ['down'] },
  sheepish: { eyes: ['round'], mouth: ['smirk'], eyebrows: ['up'] },
  breathless: { eyes: ['smiling'], mouth: ['surprised'], eyebrows: ['up'] },
  grieving: { eyes: ['round'], mouth: ['sad'], eyebrows: ['down'] },
};

const redUmbrella = '<g transform="rotate(-12 44 210)"><path d="M44 176 V238 Q44 250 54 250 Q62 250 62 242" fill="none" stroke="#5a3a2a" stroke-width="6" stroke-linecap="round"/>'
  + '<path d="M4 214 Q6 172 44 170 Q82 172 84 214 Q74 204 64 214 Q54 204 44 214 Q34 204 24 214 Q14 204 4 214 z" fill="#d63a3a" stroke="#8f1f1f" stroke-width="3" stroke-linejoin="round"/>'
  + '<path d="M44 170 Q22 186 24 214 M44 170 Q66 186 64 214" fill="none" stroke="#8f1f1f" stroke-width="2.5"/></g>';

const drawn = (picture) => portrait({ style, identity, ...picture });

export const pictures = {
  'radio-serene': drawn({ face: faces.serene, scene: 'radioStudio', props: ['1f4fb'] }), // radio
  'icecream-amused': drawn({ face: faces.amused, scene: 'beach', props: [null, '1f366'] }), // ice cream
  'umbrella-startled': drawn({ face: faces.startled, scene: 'plain', colours: ['#58a65c'], above: redUmbrella }), // red umbrella
  'cassette-wistful': drawn({ face: faces.wistful, scene: 'plain', colours: ['#3f74d1'], props: [null, '1f4fc'] }), // tape cassette
  'bear-concerned': drawn({ face: faces.concerned, scene: 'bedroom', props: ['1f9f8'] }), // teddy bear
  'door-uneasy': drawn({ face: faces.uneasy, scene: 'shopHall', props: [null, '1f6aa'] }), // door
  'mug-playful': drawn({ face: faces.playful, scene: 'radioStudio', props: ['1f375'] }), // teacup
  'moon-hushed': drawn({ face: faces.hushed, scene: 'night', props: [null, '1f319'] }), // crescent moon
  'ring-glowing': drawn({ face: faces.glowing, scene: 'plain', colours: ['#f7d54a'], props: ['1f48d'] }), // ring
  'letter-tender': drawn({ face: faces.tender, scene: 'rainyWindow', props: [null, '2709-fe0f'] }), // envelope
  'mitten-sheepish': drawn({ face: faces.sheepish, scene: 'snow', props: ['1f9e4'] }), // gloves
  'skylight-breathless': drawn({ face: faces.breathless, scene: 'rooftop', props: [null, '1f320'] }), // shooting star
  'ship-grieving': drawn({ face: faces.grieving, scene: 'sea', props: ['1f6a2'] }), // ship
  'bread-smiling': drawn({ face: faces.serene, scene: 'kitchen', props: [null, '1f35e'] }), // loaf of bread
  'guitar-laughing': drawn({ face: faces.amused, scene: 'street', props: ['1f3b8'] }), // guitar
};
