// Biscuit Brightwater, a ghost hunter with good manners: a DiceBear bigSmile head; scarf, coat, ghosts and rooms are our own.
import { portrait } from '../portrait.mjs';
import { INK, ellipse, group, line, path, rect, spots, stroke, thin } from '../shapes.mjs';

const style = 'bigSmile';
const identity = { hair: ['curlyBob'], hairColor: ['220f00'], skinColor: ['efcc9f'], accessoriesProbability: 0 };
const faces = {
  beaming: { eyes: ['cheery'], mouth: ['openedSmile'] },
  courteous: { eyes: ['normal'], mouth: ['kawaii'] },
  startled: { eyes: ['confused'], mouth: ['openSad'] },
  sorry: { eyes: ['sad'], mouth: ['openSad'] },
  determined: { eyes: ['angry'], mouth: ['unimpressed'] },
  drowsy: { eyes: ['sleepy'], mouth: ['kawaii'] },
  enraptured: { eyes: ['starstruck'], mouth: ['openedSmile'] },
  conspiring: { eyes: ['winking'], mouth: ['kawaii'] },
  embarrassed: { eyes: ['confused'], mouth: ['awkwardSmile'] },
  attentive: { eyes: ['normal'], mouth: ['unimpressed'] },
  plucky: { eyes: ['angry'], mouth: ['teethSmile'] },
  giggling: { eyes: ['winking'], mouth: ['gapSmile'] },
};

// The coat behind the head and the scarf under the chin are in every picture.
const coat = group('translate(-24 0)', path('M46 262 Q48 204 102 198 H150 Q204 204 206 262 z', '#2f7f79', line) + stroke('M126 212 V260', INK, 4)
  + ellipse(112, 234, 5, 5, '#e9b729', thin) + ellipse(112, 252, 5, 5, '#e9b729', thin));
const scarf = group('translate(-24 0)', path('M84 206 Q126 222 168 204 L172 220 Q126 242 82 222 z', '#d8453c', line) + path('M92 220 L84 256 L106 258 L110 224 z', '#d8453c', line) + stroke('M118 218 V230 M146 214 V226', '#fff', 6));

const ghost = (x, y, s = 1, fill = '#ffffff', mood = 'calm') => group(`translate(${x} ${y}) scale(${s})`,
  path('M-28 40 V-6 Q-28 -38 0 -38 Q28 -38 28 -6 V40 L18 30 L9 40 L0 30 L-9 40 L-18 30 z', fill, `${line} opacity="0.94"`),
  ellipse(-10, -8, 4, 6, INK) + ellipse(10, -8, 4, 6, INK),
  mood === 'sad' ? stroke('M-7 14 Q0 7 7 14', INK, 3.5) : mood === 'shout' ? ellipse(0, 12, 6, 8, INK) : stroke('M-7 8 Q0 15 7 8', INK, 3.5),
  ellipse(-17, 4, 5, 3, '#f5b3cc') + ellipse(17, 4, 5, 3, '#f5b3cc'));
const pane = (x, y, glass) => rect(x, y, 50, 74, glass, 'stroke="#5b4327" stroke-width="6"') + stroke(`M${x + 25} ${y} V${y + 74} M${x} ${y + 36} H${x + 50}`, '#5b4327', 4);
/** A papered parlour with two windows; `glass` tells the time of day. */
const parlour = (paper = '#9d86b5', glass = '#2b376b') => ({ svg: rect(0, 0, 256, 256, paper) + [14, 46, 78, 110, 142, 174, 206, 238].map((x) => rect(x, 0, 9, 196, '#ffffff', 'opacity="0.14"')).join('') + pane(12, 28, glass) + pane(194, 28, glass) + rect(0, 196, 256, 60, '#7a5230') + rect(0, 190, 256, 9, '#5b3a20') });
/** Gravestones on a hill. */
const churchyard = (sky = '#4a5a86') => ({ svg: rect(0, 0, 256, 256, sky) + ellipse(212, 44, 26, 26, '#ffe79a') + path('M0 176 Q66 148 130 178 T256 166 V256 H0 z', '#4b6b52') + spots([[14, 150], [212, 148]], (x, y) => path(`M${x} ${y + 56} V${y + 14} Q${x} ${y - 10} ${x + 20} ${y - 10} Q${x + 40} ${y - 10} ${x + 40} ${y + 14} V${y + 56} z`, '#a9adb5', line) + stroke(`M${x + 12} ${y + 12} H${x + 28} M${x + 12} ${y + 22} H${x + 28}`, INK, 3)) });
/** A cellar with barrels under a vault. */
const cellar = () => ({ svg: rect(0, 0, 256, 256, '#6d6474') + path('M0 256 V90 Q128 -60 256 90 V256 z', '#8a8092') + stroke('M0 90 Q128 -60 256 90', '#514a58', 8) + spots([[28, 190], [228, 190]], (x, y) => ellipse(x, y, 30, 38, '#9a6a3c', line) + stroke(`M${x - 29} ${y - 14} H${x + 29} M${x - 29} ${y + 14} H${x + 29}`, '#4d4038', 5)) + rect(0, 226, 256, 30, '#514a58') });
/** A wooden staircase. */
const stairs = () => ({ svg: rect(0, 0, 256, 256, '#c9b48f') + [0, 1, 2, 3, 4, 5, 6].map((i) => rect(i * 40 - 4, 214 - i * 34, 300, 36, i % 2 ? '#8a5a33' : '#9d6a3f', 'stroke="#5b3a20" stroke-width="3"')).join('') + stroke('M0 110 L150 -16', '#5b3a20', 10) });

const spot = [{ x: 0, y: 192, size: 62 }, { x: 184, y: 184, size: 70 }];
const make = (look, scene, { props = [], above = '', hair, ...more } = {}) => portrait({
  style, identity, face: faces[look], x: 8, y: 48, size: 198, below: coat + scarf, ...(scene.svg ? { scene } : { scene: scene[0], colours: scene[1] ?? [] }),
  props: props.map((emoji, i) => (emoji ? { emoji, ...spot[i] } : null)), above, ...more,
});

export const pictures = {
  'parlour-courteous': make('courteous', parlour(), { above: ghost(224, 190) }),
  'attic-beaming': make('beaming', parlour('#c9a26b', '#f6c98a'), { props: [null, '1f9f3'] }),
  'cellar-startled': make('startled', cellar(), { above: ghost(224, 120, 0.9, '#cfe8f7', 'shout') }),
  'grave-sorry': make('sorry', churchyard(), { props: [null, '1f490'] }),
  'lantern-determined': make('determined', ['forest', ['#39445f', '#1f3a35', '#2f5148']], { props: [null, '1f3ee'] }),
  'vigil-drowsy': make('drowsy', ['bedroom'], { props: [null, '1f56f'] }),
  'castle-enraptured': make('enraptured', ['castleHall'], { above: ghost(226, 150, 0.9) + ghost(30, 190, 0.7, '#d9f2e3') }),
  'biscuits-conspiring': make('conspiring', ['kitchen'], { props: [null, '1f36a'] }),
  'stairs-embarrassed': make('embarrassed', stairs(), { above: ghost(226, 90, 0.85, '#ffffff', 'sad') }),
  'piano-attentive': make('attentive', parlour('#86a98f', '#7f9fb8'), { props: [null, '1f3b9'] }),
  'bell-plucky': make('plucky', ['storm'], { props: [null, '1f514'] }),
  'picnic-giggling': make('giggling', ['park'], { above: ghost(224, 186, 0.95, '#fbd9e5') }),
  'ferry-courteous': make('courteous', ['harbour', ['#8fa3c4', '#2f4f78']], { above: ghost(36, 140, 0.75, '#cfe8f7'), props: [null, '26f5'] }),
  'theatre-beaming': make('beaming', ['stage'], { above: ghost(226, 178, 0.95, '#e6dcf5'), props: ['1f3ad'] }),
  'train-drowsy': make('drowsy', ['train'], { props: [null, '2615'], above: ghost(218, 70, 0.5) }),
};
