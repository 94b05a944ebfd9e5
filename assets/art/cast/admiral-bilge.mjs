// Admiral Bilge, a pelican who calls himself harbourmaster, as SVG.
import { INK, brows, ellipse, eyes, group, line, outlined, path, picture, rect, scenery, spots, stroke, table, text, thin, wall } from '../shapes.mjs';

const WHITE = '#f8f5ec';
const BILL = '#f2a23c';
const POUCH = '#f7c25c';
const NAVY = '#24407a';
const GOLD = '#f0c03f';
const look = eyes('#2f6fa8', WHITE);

const upper = (turn = 0) => group(`translate(14 10) rotate(${turn})`, path('M0 -10 Q60 -8 108 20 Q114 30 102 30 Q50 14 -4 16 z', BILL, line), stroke('M18 1 q6 -2 10 2', INK, 3));
const lower = (depth) => path(`M10 24 Q20 ${depth} 66 ${depth - 8} Q104 ${depth - 24} 112 38 Q60 22 10 24 z`, POUCH, line);
const bills = {
  calm: () => lower(82) + upper() + stroke('M6 26 q-5 2 -7 -3', INK, 4),
  smile: () => lower(88) + upper() + stroke('M12 26 Q-4 30 -10 14', INK, 4.5),
  frown: () => lower(72) + upper(3) + stroke('M10 26 Q-2 28 -6 38', INK, 4.5),
  open: () => path('M10 18 L104 -4 L100 70 Q50 60 10 30 z', '#8c2f39') + path('M22 34 Q60 34 92 62 Q60 74 22 34 z', '#e8837f', thin) + group('translate(4 8) rotate(16)', lower(86)) + upper(-18),
  full: () => path('M62 20 L70 -30 L54 -46 Q76 -46 82 -36 Q92 -48 108 -38 L88 -24 L90 26 z', '#8fb3c9', line) + lower(104) + upper(4) + stroke('M12 26 Q-4 30 -10 14', INK, 4.5),
  wavy: () => lower(76) + upper() + stroke('M8 26 q-6 -5 -9 2 t-9 2', INK, 4),
};

/** The head around (0, 0); with its bill it is about 175 wide. */
function head({ eye = 'open', brow = 'none', bill = 'calm', blush = false, extra = '' }) {
  return stroke('M-36 14 l-18 8 M-38 2 l-20 0', INK, 4)
    + ellipse(0, 0, 47, 46, WHITE, line) + bills[bill]() + (blush ? ellipse(-28, 16, 10, 6, '#f29a93', 'opacity="0.8"') : '')
    + group('translate(4 0)', look[eye](-20, -8, -1), look[eye](18, -8, 1), brows[brow](19, -26))
    + path('M-62 -28 Q-50 -66 0 -74 Q50 -66 62 -28 Q30 -42 0 -42 Q-30 -42 -62 -28 z', NAVY, line) + stroke('M-55 -33 Q-26 -46 0 -46 Q26 -46 55 -33', GOLD, 5)
    + group('translate(0 -58)', ellipse(0, 0, 9, 9, GOLD, thin), stroke('M0 -5 V5 M-5 1 Q0 7 5 1', INK, 2.5)) + extra;
}

/** Neck and navy coat, the head's middle at (x, y). */
function bust(x, y, face, medal = false) {
  return group(`translate(${x} ${y})`,
    path('M-30 20 Q-40 60 -24 90 H26 Q36 60 24 26 z', WHITE, line),
    path('M-70 170 Q-74 82 -30 72 L0 100 L30 72 Q74 82 70 170 z', NAVY, line), path('M-26 72 L0 100 L26 72 Q0 60 -26 72 z', WHITE, line), stroke('M0 100 V170', '#152a55', 3),
    spots([[-14, 116], [-14, 136], [14, 116], [14, 136]], (cx, cy) => ellipse(cx, cy, 4.5, 4.5, GOLD, thin)),
    spots([[-52, 84], [52, 84]], (cx, cy) => ellipse(cx, cy, 19, 10, GOLD, line) + stroke(`M${cx - 12} ${cy + 8} v8 M${cx} ${cy + 10} v8 M${cx + 12} ${cy + 8} v8`, GOLD, 4)),
    medal ? path('M-46 104 h20 l-4 22 h-12 z', '#d8453c', thin) + ellipse(-36, 134, 14, 14, GOLD, line) + text(-36, 140, '1', 17) : '', head(face));
}

const wing = (d, x, y) => outlined(d, WHITE, 18) + stroke(`M${x - 7} ${y - 4} l-5 -10 M${x} ${y - 6} v-11 M${x + 7} ${y - 4} l5 -10`, INK, 4);
const sea = (y, fill = '#3f86c2', crest = '#bfe0f2') => path(`M0 ${y} q16 -12 32 0 t32 0 t32 0 t32 0 t32 0 t32 0 t32 0 t32 0 V256 H0 z`, fill, line) + stroke(`M24 ${y + 22} q12 -9 24 0 M150 ${y + 28} q12 -9 24 0 M206 ${y + 16} q12 -9 24 0`, crest, 4);
const pier = (y) => table(y, '#a9784a', '#7a5230') + stroke(`M52 ${y} V256 M128 ${y} V256 M204 ${y} V256`, '#7a5230', 4);
const boat = (x, y, hull) => path(`M${x - 26} ${y} H${x + 26} L${x + 16} ${y + 16} H${x - 16} z`, hull, thin) + stroke(`M${x} ${y} V${y - 38}`, INK, 4) + path(`M${x + 3} ${y - 38} L${x + 24} ${y - 6} H${x + 3} z`, '#fff', thin);
const herring = (x, y, turn = 0) => group(`translate(${x} ${y}) rotate(${turn})`, path('M-28 0 Q0 -18 24 0 L38 -11 V11 L24 0 Q0 18 -28 0 z', '#8fb3c9', line), ellipse(-17, -2, 2.5, 2.5, INK));
const lighthouse = (x, y) => path(`M${x - 12} ${y} L${x - 8} ${y - 70} H${x + 8} L${x + 12} ${y} z`, '#fff', thin) + path(`M${x - 11} ${y - 18} l1 -18 h20 l1 18 z M${x - 9} ${y - 54} l1 -16 h16 l1 16 z`, '#d8453c') + rect(x - 8, y - 86, 16, 16, '#ffe27a', thin) + path(`M${x - 11} ${y - 86} L${x} ${y - 98} L${x + 11} ${y - 86} z`, '#d8453c', thin);
const gull = (x, y) => ellipse(x, y, 24, 19, '#fff', line) + ellipse(x - 4, y - 24, 15, 14, '#fff', line) + ellipse(x - 9, y - 27, 3, 3.5, INK) + path(`M${x - 17} ${y - 23} l-14 5 l14 4 z`, GOLD, thin) + path(`M${x + 4} ${y - 6} q22 0 26 12 q-18 6 -28 -2 z`, '#b9c3c9', thin);

const scenes = {
  'quay-commanding': () => wall('#bfe3f2') + scenery.cloud(34, 40) + sea(176) + boat(226, 168, '#d8453c') + pier(216) + bust(92, 104, { eye: 'open', brow: 'firm', bill: 'open' }) + wing('M150 204 L212 158', 218, 156),
  'telescope-watchful': () => wall('#f6d9a8') + scenery.sun(224, 44, 22) + sea(184) + bust(84, 112, { eye: 'open', brow: 'one', bill: 'frown' }) + group('translate(112 102) rotate(-12)', rect(-4, -13, 52, 26, GOLD, line), rect(48, -17, 42, 34, '#b8862b', line), rect(88, -21, 14, 42, GOLD, line)) + wing('M124 214 L150 132', 152, 126),
  'herring-pleased': () => wall('#cfe8d5') + bust(84, 104, { eye: 'happy', bill: 'full', blush: true }) + pier(214) + rect(168, 196, 76, 52, '#c58f4e', line) + stroke('M168 214 H244 M168 232 H244', '#8f5f2a', 4) + herring(190, 194, -24) + herring(222, 192, -70),
  'storm-outraged': () => wall('#4d5a75') + scenery.cloud(60, 24, '#7d889e') + scenery.cloud(200, 30, '#7d889e') + path('M212 44 L190 92 H208 L196 132 L234 80 H214 L226 44 z', '#ffe27a', line) + scenery.rain('#9fb6d6') + sea(206, '#2f5e94') + bust(90, 112, { eye: 'cross', bill: 'open' }),
  'deep-terrified': () => wall('#7fb4d6') + bust(92, 100, { eye: 'wide', brow: 'worried', bill: 'wavy' }) + sea(204, '#173a6b', '#5f8cc0') + outlined('M30 206 Q92 244 154 206', '#d8453c', 24) + stroke('M58 219 l8 -8 M92 224 v-2 M122 219 l-6 -8', '#fff', 14) + stroke('M200 236 q14 -26 26 0', '#0d2548', 8),
  'hammock-asleep': () => wall('#26345f') + scenery.stars() + scenery.moon(216, 48, 30) + bust(92, 116, { eye: 'asleep', bill: 'calm' }) + path('M-6 176 Q120 232 262 168 V214 Q128 280 -6 226 z', '#d9b36a', line) + stroke('M20 192 L40 236 M70 208 L84 248 M124 214 L130 250 M180 204 L176 246 M226 190 L218 232', '#a37f3d', 4) + text(150, 84, 'z', 24, '#fff') + text(170, 60, 'Z', 32, '#fff'),
  'medal-proud': () => wall('#f4d35e') + scenery.bunting(14) + bust(96, 112, { eye: 'happy', brow: 'raised', bill: 'smile', blush: true }, true) + wing('M158 214 L196 188', 200, 186),
  'puddle-resolute': () => wall('#c9d2d9') + rect(0, 196, 256, 60, '#9a9186', line) + bust(96, 106, { eye: 'open', brow: 'firm', bill: 'frown' }) + ellipse(120, 236, 118, 22, '#5a9fd4', line) + stroke('M60 238 q30 10 66 2 M150 232 q24 8 50 2', '#cfe8f7', 4) + spots([[22, 204], [220, 196], [236, 212]], (x, y) => path(`M${x} ${y - 12} q-8 12 0 15 q8 -3 0 -15 z`, '#5a9fd4', thin)) + path('M196 196 L226 142 M226 142 L232 138', 'none', `stroke="${INK}" stroke-width="5"`) + path('M226 140 L252 150 L228 166 z', '#d8453c', line),
  'gull-suspicious': () => wall('#d7e9f4') + sea(190) + pier(222) + bust(84, 110, { eye: 'aside', brow: 'one', bill: 'frown' }) + gull(212, 206),
  'chart-puzzled': () => wall('#e8d4b4') + rect(18, 16, 60, 60, '#bfe3f2', `stroke="#7a5230" stroke-width="7"`) + bust(92, 98, { eye: 'down', brow: 'one', bill: 'wavy' }) + table(224, '#8a5e39', '#63402a') + path('M26 244 L38 184 L236 184 L246 244 z', '#fbf1d3', line) + path('M56 230 Q70 196 104 204 Q120 232 92 238 z', '#9ccf8b', thin) + path('M160 200 Q190 190 206 208 Q190 230 166 222 z', '#9ccf8b', thin) + stroke('M112 222 q14 -14 28 -6', '#d8453c', 4) + text(148, 238, '?', 26, '#d8453c'),
  'sunset-tearful': () => wall('#f0a36b') + ellipse(216, 150, 44, 44, '#ffdf8a') + rect(0, 128, 256, 40, '#f28f5b', 'opacity="0.35"') + sea(186, '#8a5a8f', '#f3b98a') + lighthouse(232, 190) + bust(90, 108, { eye: 'sad', brow: 'worried', bill: 'frown' }),
  'fog-nervous': () => wall('#b8c0c4') + bust(88, 108, { eye: 'up', brow: 'worried', bill: 'wavy' }) + spots([[20, 190], [226, 60], [210, 226], [60, 244], [30, 40]], (x, y) => ellipse(x, y, 70, 15, '#e4e9eb', 'opacity="0.85"')) + wing('M150 214 L204 182', 206, 180) + stroke('M210 150 V176', INK, 4) + path('M190 158 L210 142 L230 158 z', '#b8862b', line) + rect(194, 158, 32, 40, '#ffe27a', line) + rect(188, 196, 44, 9, '#b8862b', line),
  'cake-starry': () => wall('#f7d6e0') + bust(86, 100, { eye: 'star', brow: 'raised', bill: 'smile', blush: true }) + table(222, '#8a5e39', '#63402a') + rect(140, 178, 96, 46, '#8fc0e0', line) + path('M140 178 H236 V190 Q224 202 212 190 Q200 202 188 190 Q176 202 164 190 Q152 202 140 190 z', '#fff', line) + spots([[162, 176], [188, 176], [214, 176]], (x, y) => rect(x - 3, y - 18, 6, 18, '#fff', thin) + path(`M${x} ${y - 36} q7 9 0 16 q-7 -7 0 -16 z`, '#ffb02e', thin)),
  'salute-winking': () => wall('#8cc7a4') + path('M214 20 V256', 'none', `stroke="${INK}" stroke-width="7"`) + path('M214 24 H250 L240 46 L250 68 H214 z', '#d8453c', line) + pier(226) + bust(92, 112, { eye: 'wink', brow: 'one', bill: 'smile' }) + wing('M34 208 Q4 150 36 96', 40, 92),
};

export const pictures = Object.fromEntries(Object.entries(scenes).map(([id, scene]) => [id, picture(scene())]));
