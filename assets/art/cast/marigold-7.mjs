// Marigold-7, a retired greenhouse robot: a DiceBear bottts head; the body, the flower on it and the greenhouse are our own.
import { portrait } from '../portrait.mjs';
import { INK, ellipse, group, line, path, rect, spots, stroke, thin } from '../shapes.mjs';

const style = 'bottts';
const body = 'fb8c00';
const identity = { baseColor: [body], face: ['round02'], sides: ['round'], topProbability: 0, textureProbability: 0, mouthProbability: 100 };
const faces = {
  delighted: { eyes: ['happy'], mouth: ['smile02'] },
  smitten: { eyes: ['hearts'], mouth: ['smile01'] },
  glowing: { eyes: ['glow'], mouth: ['smile01'] },
  astonished: { eyes: ['bulging'], mouth: ['square01'] },
  studious: { eyes: ['roundFrame02'], mouth: ['square02'] },
  jolted: { eyes: ['dizzy'], mouth: ['grill02'] },
  anxious: { eyes: ['bulging'], mouth: ['grill03'] },
  calculating: { eyes: ['frame2'], mouth: ['diagram'] },
  contented: { eyes: ['happy'], mouth: ['smile01'] },
  inspecting: { eyes: ['sensor'], mouth: ['square02'] },
  dashing: { eyes: ['shade01'], mouth: ['smile02'] },
  drooping: { eyes: ['round'], mouthProbability: 0 },
  asleep: { eyes: ['round'], mouthProbability: 0 },
};

// What the style cannot draw: lids over the round eyes, and mouths that hang or sleep.
const lids = spots([[102], [154]], (x) => ellipse(x, 138, 12, 12, `#${body}`));
const drawn = {
  drooping: spots([[102, -1], [154, 1]], (x, side) => stroke(`M${x - side * 11} 117 L${x + side * 11} 124`, INK, 4)) + stroke('M112 167 Q128 153 144 167', INK, 4),
  asleep: lids + spots([[102], [154]], (x) => stroke(`M${x - 11} 135 Q${x} 146 ${x + 11} 135`, INK, 4)) + stroke('M120 162 H136', INK, 4),
};

const flower = (petals, bend) => stroke(bend < 0 ? 'M128 66 Q122 42 104 44' : 'M128 66 Q132 50 128 34', '#3f8a45', 5)
  + path('M129 58 q14 -12 22 -2 q-10 10 -22 2 z', '#58a65c', thin)
  + group(bend < 0 ? 'translate(98 50)' : 'translate(128 26)', [...Array(8).keys()].map((i) => group(`rotate(${i * 45})`, ellipse(0, -12, 7, 9, petals, thin))).join(''), ellipse(0, 0, 8, 8, '#b5561c', thin));
const pot = rect(112, 62, 32, 9, '#a34f2a', thin);
const torso = path('M74 260 V212 Q74 184 104 184 H152 Q182 184 182 212 V260 z', '#f6c453', line) + rect(112, 168, 32, 20, '#8d949a', line)
  + ellipse(128, 222, 21, 21, '#fffdf2', line) + path('M128 222 L119 209 A16 16 0 0 1 143 216 z', '#58a65c') + stroke('M128 222 L140 210', '#d8453c', 4) + ellipse(128, 222, 3, 3, INK)
  + stroke('M76 214 Q50 220 54 250', INK, 19) + stroke('M76 214 Q50 220 54 250', '#f6c453', 12) + stroke('M180 214 Q206 220 202 250', INK, 19) + stroke('M180 214 Q206 220 202 250', '#f6c453', 12);

const leafy = (x, y, r, fill) => stroke(`M${x} ${y} V${y - r * 1.4}`, '#3f7a45', 4) + spots([[-1, 0.5], [1, 0.7], [-1, 1], [1, 1.2]], (side, up) => path(`M${x} ${y - r * up} q${side * r * 0.5} ${-r * 0.6} ${side * r} ${-r * 0.1} q${-side * r * 0.4} ${r * 0.5} ${-side * r} ${r * 0.1} z`, fill));
const potted = (x, y, fill = '#58a65c') => leafy(x, y - 22, 26, fill) + path(`M${x - 15} ${y - 24} h30 l-5 26 h-20 z`, '#b5653a', thin);
/** Glass panes with pots on two shelves. */
const greenhouse = (sky = '#d3f0e6', frame = '#ffffff', leaf = '#58a65c') => ({
  svg: rect(0, 0, 256, 256, sky) + stroke('M0 70 L128 -10 L256 70 M0 70 H256 M50 0 V256 M206 0 V256 M0 128 H256', frame, 7)
    + rect(0, 152, 66, 9, '#9a6a3c') + rect(190, 152, 66, 9, '#9a6a3c') + potted(18, 152, leaf) + potted(48, 152, leaf) + potted(210, 152, leaf) + potted(240, 152, leaf) + rect(0, 226, 256, 30, '#a9876a') + rect(0, 222, 256, 8, '#7f6248'),
});
const can = (x, y, fill = '#3f74d1') => group(`translate(${x} ${y})`, stroke('M-20 -6 Q-34 -38 4 -34 Q26 -30 20 -8', INK, 8), stroke('M-20 -6 Q-34 -38 4 -34 Q26 -30 20 -8', fill, 3), path('M18 10 L48 -22 L54 -16 L24 24 z', fill, thin), path('M44 -26 L60 -12 L66 -26 L54 -36 z', fill, thin), rect(-24, -8, 46, 36, fill, `${thin} rx="5"`));
const drops = (list) => spots(list, (x, y) => path(`M${x} ${y} q-7 12 0 15 q7 -3 0 -15 z`, '#5fb4ee', thin));

const make = (look, scene, { props = [], petals = '#ffb52e', bend = 1, above = '', ...more } = {}) => portrait({
  style, identity, face: faces[look], x: 46, y: 40, size: 164, below: torso, ...(scene.svg ? { scene } : { scene: scene[0], colours: scene[1] ?? [] }),
  props: props.map((thing, i) => (thing ? { emoji: thing, ...[{ x: 0, y: 180, size: 74 }, { x: 182, y: 180, size: 74 }][i] } : null)),
  above: group('translate(0 13)', pot, flower(petals, bend)) + (drawn[look] ?? '') + above, ...more,
});

export const pictures = {
  'greenhouse-delighted': make('delighted', greenhouse(), { above: can(30, 216) }),
  'seedling-smitten': make('smitten', greenhouse('#e6f3c9'), { props: [null, '1f331'] }),
  'tomato-glowing': make('glowing', ['garden'], { props: ['1f345'] }),
  'bee-astonished': make('astonished', ['meadow'], { props: [null, '1f41d'] }),
  'library-studious': make('studious', ['library'], { props: ['1f4d6'] }),
  'workshop-jolted': make('jolted', ['workshop'], { props: [null, '1f527'], above: spots([[58, 70], [200, 60], [196, 96]], (x, y) => path(`M${x} ${y} l8 -18 l-2 14 h10 l-10 18 l2 -14 z`, '#ffe27a', thin)) }),
  'frost-anxious': make('anxious', ['snow'], { props: ['2744'] }),
  'wilted-drooping': make('drooping', ['rainyWindow'], { bend: -1, props: [null, '1f940'] }),
  'stall-calculating': make('calculating', ['market'], { props: ['1f353', null] }),
  'moon-asleep': make('asleep', ['night'], { above: spots([[196, 122, 18], [212, 102, 24]], (x, y, size) => `<text x="${x}" y="${y}" font-family="DejaVu Sans" font-size="${size}" font-weight="bold" fill="#fff6c9">z</text>`) }),
  'tea-contented': make('contented', ['kitchen'], { props: [null, '1f375'] }),
  'shower-delighted': make('delighted', greenhouse('#9fc3dd', '#eef4f8'), { above: drops([[20, 20], [60, 50], [36, 96], [214, 24], [240, 70], [206, 108], [86, 14], [176, 18], [16, 180], [236, 190], [44, 200], [212, 208]]) }),
  'cactus-inspecting': make('inspecting', ['desert', ['#f7d9b0']], { props: [null, '1f335'] }),
  'beach-dashing': make('dashing', ['beach'], { props: [null, '1f41a'] }),
  'festival-smitten': make('smitten', ['festival'], { props: ['1f382'] }),
};
