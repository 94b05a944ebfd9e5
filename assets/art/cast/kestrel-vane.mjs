// Kestrel Vane, captain of an airship, who steals only weather.
import { portrait } from '../portrait.mjs';

const style = 'toonHead';
const identity = {
  hair: ['spiky'],
  hairProbability: 100,
  hairColor: ['c93305'],
  rearHair: ['neckHigh'],
  rearHairProbability: 100,
  skinColor: ['f3c6a3'],
  beardProbability: 0,
  clothes: ['openJacket'],
  clothesColor: ['3b6fd4'],
};

const faces = {
  gleeful: { eyes: ['happy'], mouth: ['laugh'], eyebrows: ['happy'] },
  bold: { eyes: ['wide'], mouth: ['smile'], eyebrows: ['neutral'] },
  roguish: { eyes: ['wink'], mouth: ['smile'], eyebrows: ['raised'] },
  forlorn: { eyes: ['humble'], mouth: ['sad'], eyebrows: ['sad'] },
  furious: { eyes: ['wide'], mouth: ['angry'], eyebrows: ['angry'] },
  thunderstruck: { eyes: ['wide'], mouth: ['agape'], eyebrows: ['raised'] },
  blissful: { eyes: ['bow'], mouth: ['smile'], eyebrows: ['happy'] },
  scheming: { eyes: ['wide'], mouth: ['smile'], eyebrows: ['angry'] },
  alarmed: { eyes: ['humble'], mouth: ['agape'], eyebrows: ['sad'] },
  bellowing: { eyes: ['bow'], mouth: ['agape'], eyebrows: ['raised'] },
  bashful: { eyes: ['humble'], mouth: ['smile'], eyebrows: ['sad'] },
  cheeky: { eyes: ['wink'], mouth: ['laugh'], eyebrows: ['raised'] },
  stubborn: { eyes: ['bow'], mouth: ['angry'], eyebrows: ['angry'] },
};

const puff = (x, y, rx, ry, opacity) => `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" fill="#ffffff" opacity="${opacity}"/>`;
const fog = puff(10, 60, 56, 16, 0.8) + puff(240, 96, 60, 16, 0.8) + puff(30, 214, 74, 24, 0.85) + puff(224, 206, 70, 22, 0.85) + puff(120, 246, 130, 22, 0.9);

// The renderer takes the dark masks of the mouths for nearly transparent, and thin lips vanish when small.
const drawn = (picture) => portrait({ style, identity, ...picture })
  .replaceAll('fill="#611519"/></mask>', 'fill="#fff"/></mask>')
  .replaceAll('fill="#3F2626" fill-opacity="0.5"', 'fill="#3F2626"');

export const pictures = {
  'thunder-gleeful': drawn({ face: faces.gleeful, scene: 'storm', props: ['26a1'] }), // lightning
  'sunset-bold': drawn({ face: faces.bold, scene: 'airship', props: [null, '1f305'] }), // sunset
  'coin-roguish': drawn({ face: faces.roguish, scene: 'castleHall', props: ['1f4b0'] }), // money bag
  'fog-forlorn': drawn({ face: faces.forlorn, scene: 'plain', colours: ['#d9d9de'], above: fog }), // fog
  'spoon-furious': drawn({ face: faces.furious, scene: 'kitchen', props: ['1f944'] }), // spoon
  'hen-thunderstruck': drawn({ face: faces.thunderstruck, scene: 'airship', props: [null, '1f414'] }), // hen
  'tea-blissful': drawn({ face: faces.blissful, scene: 'plain', colours: ['#2f9c95'], props: ['1fad6'] }), // teapot
  'map-scheming': drawn({ face: faces.scheming, scene: 'cave', props: [null, '1f5fa-fe0f'] }), // map
  'wave-alarmed': drawn({ face: faces.alarmed, scene: 'sea', props: ['1f30a'] }), // water wave
  'wind-bellowing': drawn({ face: faces.bellowing, scene: 'mountain', props: [null, '1f32c-fe0f'] }), // wind face
  'rainbow-bashful': drawn({ face: faces.bashful, scene: 'meadow', props: ['1f308'] }), // rainbow
  'snow-cheeky': drawn({ face: faces.cheeky, scene: 'snow', props: [null, '2744-fe0f'] }), // snowflake
  'anchor-stubborn': drawn({ face: faces.stubborn, scene: 'harbour', props: ['2693'] }), // anchor
  'balloon-smiling': drawn({ face: faces.bold, scene: 'rooftop', props: [null, '1f388'] }), // balloon
  'star-laughing': drawn({ face: faces.gleeful, scene: 'night', props: ['1f31f'] }), // glowing star
};
