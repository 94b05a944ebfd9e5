// Saffron Quill, a student of ink magic: a DiceBear adventurer head; gown, blots, ink creatures and desks are our own.
import { portrait } from '../portrait.mjs';
import { INK, ellipse, group, line, path, rect, spots, stroke, thin } from '../shapes.mjs';

const style = 'adventurer';
const identity = { hair: ['long13'], hairColor: ['cb6820'], skinColor: ['f2d3b1'], features: ['freckles'], featuresProbability: 100, glasses: ['variant04'], glassesProbability: 100, earringsProbability: 0 };
const face = (eyes, eyebrows, mouth) => ({ eyes: [`variant${eyes}`], eyebrows: [`variant${eyebrows}`], mouth: [`variant${mouth}`] });
const faces = {
  bubbling: face('26', '09', '26'),
  dazzled: face('23', '09', '30'),
  panicked: face('03', '07', '14'),
  scribbling: face('12', '10', '10'),
  crestfallen: face('15', '07', '04'),
  cackling: face('19', '09', '25'),
  sulking: face('16', '02', '09'),
  snoozing: face('20', '10', '03'),
  sly: face('21', '09', '02'),
  gaping: face('24', '09', '15'),
  sheepish: face('26', '07', '11'),
  cheeky: face('22', '08', '16'),
};

const gown = path('M40 262 Q46 214 100 206 H142 Q196 214 204 262 z', '#5b2f86', line) + path('M98 207 L121 240 L144 207 z', '#ffffff', line) + path('M115 224 h12 l-2 30 h-8 z', '#d9a62b', thin);
const blot = (x, y, r, fill = '#23305e') => ellipse(x, y, r, r * 0.9, fill) + spots([[1.3, -0.5, 0.25], [-1.2, 0.7, 0.22], [0.8, 1.2, 0.3], [-0.9, -1.1, 0.2]], (dx, dy, k) => ellipse(x + dx * r, y + dy * r, k * r, k * r, fill));
// Drops of ink on her cheek and her collar are in every picture.
const marks = blot(88, 158, 4) + blot(160, 236, 6) + blot(78, 240, 5);
const fish = (x, y, s, fill = '#23305e') => group(`translate(${x} ${y}) scale(${s})`, path('M-26 0 Q-4 -24 20 0 Q-4 24 -26 0 z M18 0 L34 -14 V14 z', fill), ellipse(-12, -4, 4, 4, '#fff'));
const moth = (x, y, s, fill = '#23305e') => group(`translate(${x} ${y}) scale(${s})`, path('M0 0 Q-34 -36 -34 -4 Q-34 20 0 8 Q34 20 34 -4 Q34 -36 0 0 z', fill), rect(-3, -8, 6, 26, fill), stroke('M-2 -8 L-10 -22 M2 -8 L10 -22', fill, 3));
const cat = (x, y, s, fill = '#23305e') => group(`translate(${x} ${y}) scale(${s})`, path('M-24 40 Q-30 4 -16 -8 L-18 -32 L-6 -20 H6 L18 -32 L16 -8 Q30 4 24 40 z', fill), stroke('M22 34 Q44 26 36 4', fill, 7), ellipse(-7, -10, 3.5, 4.5, '#ffe27a') + ellipse(7, -10, 3.5, 4.5, '#ffe27a'));
const pot = (x, y, fill = '#23305e') => group(`translate(${x} ${y})`, rect(-14, -34, 28, 12, '#cdd6dd', thin), path('M-18 -22 h36 l8 14 v30 h-52 v-14 z', fill, line), rect(-16, -2, 32, 14, '#fffdf2', thin));
const page = (x, y, turn = 0) => group(`translate(${x} ${y}) rotate(${turn})`, rect(-18, -24, 36, 48, '#fffdf2', thin), stroke('M-11 -13 H11 M-11 -4 H11 M-11 5 H4', '#3f74d1', 3));
/** A high study with a round window and sheets on a line. */
const study = (wall = '#c9b6dd', glass = '#a8def7') => ({ svg: rect(0, 0, 256, 256, wall) + ellipse(206, 62, 38, 38, glass, 'stroke="#5b4327" stroke-width="8"') + stroke('M206 24 V100 M168 62 H244', '#5b4327', 5) + stroke('M0 22 Q60 44 150 14', '#5b4327', 3) + page(22, 56, -6) + page(66, 60, 5) + rect(0, 206, 256, 50, '#8a5a33') + rect(0, 200, 256, 9, '#5b3a20') });

const spot = [{ x: 0, y: 188, size: 66 }, { x: 186, y: 184, size: 70 }];
const make = (look, scene, { props = [], above = '', ...more } = {}) => portrait({
  style, identity, face: faces[look], x: 4, y: 14, size: 236, below: gown, ...(scene.svg ? { scene } : { scene: scene[0], colours: scene[1] ?? [] }),
  props: props.map((emoji, i) => (emoji ? { emoji, ...spot[i] } : null)), above: marks + above, ...more,
});

export const pictures = {
  'study-bubbling': make('bubbling', study(), { above: pot(224, 222) }),
  'moth-dazzled': make('dazzled', study('#3f4b7a', '#ffe79a'), { above: moth(216, 178, 0.9, '#dfe6ff') }),
  'spill-panicked': make('panicked', ['library'], { above: blot(214, 222, 26) + blot(34, 232, 17) + blot(238, 150, 9) }),
  'exam-scribbling': make('scribbling', ['classroom'], { props: [null, '1f4dd'] }),
  'rain-crestfallen': make('crestfallen', ['rainyWindow'], { above: page(224, 216, 12) + blot(224, 212, 10) }),
  'fish-cackling': make('cackling', ['kitchen'], { above: fish(216, 198, 1.1) + fish(36, 214, 0.8) + fish(228, 144, 0.6) }),
  'lines-sulking': make('sulking', ['castleHall'], { props: [null, '1f4dc'] }),
  'midnight-snoozing': make('snoozing', ['night'], { props: [null, '1f4da'] }),
  'market-sly': make('sly', ['market'], { props: [null, '1fab6'] }),
  'cat-gaping': make('gaping', study('#e3c9a8', '#f6b98a'), { above: cat(224, 210, 1) }),
  'garden-sheepish': make('sheepish', ['garden'], { above: blot(218, 196, 22, '#b5307a') + blot(240, 160, 8, '#b5307a') }),
  'snow-bubbling': make('bubbling', ['snow'], { above: fish(222, 202, 0.9) + page(30, 216, -14) }),
  'stage-cheeky': make('cheeky', ['stage'], { props: [null, '1f4a1'] }),
  'beach-dazzled': make('dazzled', ['beach'], { props: [null, '1f419'] }),
  'camp-cackling': make('cackling', ['camp'], { above: moth(208, 84, 0.7, '#dfe6ff') + cat(36, 218, 0.8) }),
};
