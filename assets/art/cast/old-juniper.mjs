// Old Juniper, a giant tortoise of 170 years, as SVG.
import { INK, brows, ellipse, eyes, group, line, outlined, path, picture, rect, scenery, spots, stroke, table, text, thin, wall } from '../shapes.mjs';

const SKIN = '#9db46f';
const DARK = '#7d9653';
const SHELL = '#8a6238';
const PLATE = '#a97d49';
const SHAWL = '#a78bc9';
const look = eyes('#6b4a1f', SKIN);

const mouths = {
  calm: stroke('M-34 28 Q0 40 34 28', INK, 4.5),
  smile: stroke('M-38 22 Q0 50 38 22 M-44 20 q6 -2 8 5 M44 20 q-6 -2 -8 5', INK, 4.5),
  grin: path('M-36 22 Q0 32 36 22 Q28 54 0 54 Q-28 54 -36 22 z', '#8c2f39', line) + path('M-16 46 Q0 38 16 46 Q8 54 0 54 Q-8 54 -16 46 z', '#e8837f'),
  stern: stroke('M-30 38 Q0 22 30 38', INK, 4.5),
  open: ellipse(0, 36, 13, 12, '#8c2f39', line),
  wavy: stroke('M-28 34 q9 -9 18 0 t18 0 t18 -2', INK, 4.5),
  sly: stroke('M-30 32 Q10 40 38 18', INK, 4.5),
};

/** The head around (0, 0) in its straw hat, about 130 wide with the brim. */
function head({ eye = 'open', brow = 'none', mouth = 'calm', blush = false, extra = '' }) {
  return path('M-56 4 Q-58 -46 0 -46 Q58 -46 56 4 Q54 58 0 58 Q-54 58 -56 4 z', SKIN, line)
    + stroke('M-50 34 q8 3 12 9 M50 34 q-8 3 -12 9 M-52 -2 q6 0 8 4 M52 -2 q-6 0 -8 4', DARK, 4)
    + spots([[-6, 14], [6, 14]], (x, y) => ellipse(x, y, 2.4, 3, INK)) + mouths[mouth] + (blush ? scenery.blush(40, 16) : '')
    + look[eye](-24, -3, -1) + look[eye](24, -3, 1)
    + group('translate(0 -7)', path('M-36 -36 Q-34 -74 0 -74 Q34 -74 36 -36 z', '#f0d489', line), path('M-36 -46 Q0 -38 36 -46 L36 -34 Q0 -28 -36 -34 z', '#c8443b', thin),
    path('M-70 -32 Q0 -22 70 -32 Q66 -44 36 -40 Q0 -34 -36 -40 Q-66 -44 -70 -32 z', '#f0d489', line),
    stroke('M-16 -64 q4 8 2 14 M8 -66 q4 8 2 14', '#cba95c', 3)) + brows[brow](24, -22) + extra;
}

/** Shell, neck and lilac shawl, the head's middle at (x, y). */
function bust(x, y, face) {
  return group(`translate(${x} ${y})`,
    path('M-118 170 Q-122 6 0 2 Q122 6 118 170 z', SHELL, line),
    spots([[-78, 70], [78, 70], [-88, 130], [88, 130], [-44, 26], [44, 26]], (cx, cy) => path(`M${cx - 24} ${cy} l12 -22 h24 l12 22 l-12 22 h-24 z`, PLATE, thin)),
    path('M-34 40 Q-46 90 -54 170 H54 Q46 90 34 40 z', SKIN, line), stroke('M-26 120 Q0 128 26 120 M-28 140 Q0 148 28 140', DARK, 4),
    path('M-58 74 Q0 108 58 74 L70 104 Q30 132 0 134 Q-30 132 -70 104 z', SHAWL, line), stroke('M-52 112 l-5 12 M-30 122 l-3 13 M-2 127 v13 M28 122 l4 13 M52 112 l6 12', SHAWL, 6),
    ellipse(0, 100, 9, 9, '#f0c03f', thin), head(face));
}

const foot = (x, y) => ellipse(x, y, 24, 17, SKIN, line) + stroke(`M${x - 10} ${y + 8} v6 M${x} ${y + 10} v6 M${x + 10} ${y + 8} v6`, INK, 3);
const grass = (y, fill = '#7fb461') => rect(-4, y, 264, 260 - y, fill, line) + stroke([...Array(9).keys()].map((i) => `M${12 + i * 30} ${y + 20 + (i % 3) * 8} l-4 -10 m4 10 l5 -10`).join(' '), '#5d9246', 3.5);
const flower = (x, y, colour) => stroke(`M${x} ${y} v26`, '#4d8a3d', 4) + spots([[-7, 0], [7, 0], [0, -7], [0, 7]], (dx, dy) => ellipse(x + dx, y + dy, 6, 6, colour, thin)) + ellipse(x, y, 5, 5, '#ffe27a', thin);
const biscuit = (x, y) => ellipse(x, y, 17, 15, '#d99a52', line) + spots([[-6, -4], [5, -5], [-2, 5], [8, 4]], (dx, dy) => ellipse(x + dx, y + dy, 2.4, 2.4, '#5a3020'));
const bird = (x, y) => ellipse(x, y, 20, 16, '#4f8fd0', line) + ellipse(x - 11, y - 13, 12, 11, '#4f8fd0', line) + ellipse(x - 15, y - 15, 3, 3.5, INK) + path(`M${x - 22} ${y - 12} l-11 4 l11 4 z`, '#f0c03f', thin) + path(`M${x + 14} ${y - 4} l18 -8 l-4 16 z`, '#3a6ea5', thin);

const scenes = {
  'garden-amused': () => wall('#cdeaf5') + scenery.sun(36, 38, 20) + grass(196) + bust(128, 104, { eye: 'happy', mouth: 'smile', blush: true }) + flower(28, 206, '#e4574f') + flower(232, 200, '#f3c243') + foot(84, 238) + foot(172, 238),
  'basket-kind': () => wall('#f4e2b8') + bust(106, 96, { eye: 'open', brow: 'raised', mouth: 'smile' }) + table(220, '#a9713f', '#7c4e28') + stroke('M168 196 Q206 130 244 196', INK, 13) + stroke('M168 196 Q206 130 244 196', '#c58f4e', 7) + path('M158 192 H252 L242 246 H168 z', '#c58f4e', line) + stroke('M162 208 H248 M165 226 H246 M182 194 V244 M206 194 V244 M230 194 V244', '#8f5f2a', 3) + biscuit(188, 186) + biscuit(222, 184) + ellipse(205, 178, 14, 13, '#c8443b', line),
  'ship-remembering': () => wall('#efc9a8') + bust(94, 124, { eye: 'up', mouth: 'calm' }) + ellipse(176, 92, 7, 6, '#fff', thin) + ellipse(190, 76, 10, 8, '#fff', thin) + ellipse(206, 40, 46, 34, '#fff', line) + path('M176 46 H238 L228 62 H186 z', '#8a5e39', thin) + stroke('M206 46 V14', INK, 4) + path('M209 14 Q236 26 209 40 z', '#f6e6c8', thin) + path('M203 18 Q184 28 203 40 z', '#f6e6c8', thin),
  'sun-asleep': () => wall('#fbe19a') + scenery.sun(222, 42, 24) + grass(206, '#a9c96b') + bust(116, 118, { eye: 'asleep', mouth: 'calm' }) + text(190, 116, 'z', 24) + text(208, 96, 'Z', 32) + foot(70, 242) + foot(164, 242),
  'rain-patient': () => wall('#9db0c2') + scenery.rain() + grass(214, '#6d9a63') + bust(128, 112, { eye: 'half', mouth: 'calm' }) + spots([[26, 226, 26], [222, 236, 30]], (x, y, r) => ellipse(x, y, r, 8, '#6aa6d6', thin)),
  'bird-sly': () => wall('#d6ecc9') + path('M256 150 Q214 160 196 150', 'none', `stroke="#7a5230" stroke-width="12" stroke-linecap="round"`) + spots([[244, 130], [216, 168]], (x, y) => ellipse(x, y, 15, 9, '#5d9246', thin)) + bust(98, 106, { eye: 'aside', brow: 'one', mouth: 'sly' }) + bird(220, 126),
  'kite-surprised': () => wall('#bfe0f5') + scenery.cloud(40, 34) + bust(100, 116, { eye: 'wide', brow: 'raised', mouth: 'open' }) + stroke('M206 76 Q214 130 196 176 T216 246', INK, 3) + path('M206 14 L240 48 L206 84 L178 48 z', '#e4574f', line) + stroke('M206 14 V84 M178 48 H240', '#fff', 4) + spots([[205, 116], [204, 150], [208, 190]], (x, y) => path(`M${x - 12} ${y - 7} L${x + 12} ${y + 7} V${y - 7} L${x - 12} ${y + 7} z`, '#f3c243', thin)),
  'photograph-sad': () => wall('#8d93ab') + bust(98, 104, { eye: 'sad', brow: 'worried', mouth: 'stern' }) + group('translate(206 184) rotate(8)', rect(-38, -46, 76, 92, '#fff7e2', line), rect(-28, -36, 56, 58, '#d9c49a', thin), ellipse(0, -14, 13, 14, '#f3d3b0', thin), path('M-20 22 Q-18 0 0 0 Q18 0 20 22 z', '#6d7890', thin), path('M-16 -20 H16 Q14 -34 0 -34 Q-14 -34 -16 -20 z', '#3b3f52', thin)) + foot(160, 240),
  'radish-stern': () => wall('#e7d2a6') + grass(210, '#8a6a45') + bust(112, 108, { eye: 'cross', mouth: 'stern' }) + group('translate(216 204) rotate(24)', path('M-20 0 Q-20 -22 0 -22 Q20 -22 20 0 Q18 20 0 38 Q-18 20 -20 0 z', '#d94e7b', line), path('M0 -22 Q-24 -52 -30 -34 Q-22 -24 0 -22 Q2 -60 14 -50 Q18 -34 0 -22 z', '#5d9246', thin), path('M14 -18 Q26 -12 22 2 Q10 0 8 -12 z', '#e7d2a6', thin)),
  'cake-delighted': () => wall('#fde3ea') + scenery.bunting(8) + bust(116, 110, { eye: 'happy', brow: 'raised', mouth: 'grin', blush: true }) + table(232, '#a9713f', '#7c4e28') + rect(152, 190, 96, 46, '#fff5dc', line) + path('M152 190 H248 V202 Q236 212 224 202 Q212 212 200 202 Q188 212 176 202 Q164 212 152 202 z', '#f6a5bd', line) + text(200, 230, '170', 22, '#c8443b') + spots([[174, 188], [200, 188], [226, 188]], (x, y) => rect(x - 3, y - 16, 6, 16, '#8fc0e0', thin) + path(`M${x} ${y - 34} q7 9 0 16 q-7 -7 0 -16 z`, '#ffb02e', thin)),
  'stars-wondering': () => wall('#20305c') + scenery.stars() + scenery.moon(216, 50, 28) + grass(214, '#2f5a4a') + bust(112, 112, { eye: 'up', brow: 'raised', mouth: 'open' }),
  'race-determined': () => wall('#cfeaf7') + rect(0, 196, 256, 60, '#d9a46b', line) + stroke('M0 226 h40 m26 0 h40 m26 0 h40 m26 0 h40', '#fff', 5) + stroke('M222 256 V60', INK, 9) + stroke('M222 256 V60', '#fff', 3) + spots([[178, 60, 1], [192, 60, 0], [206, 60, 1], [178, 74, 0], [192, 74, 1], [206, 74, 0], [178, 88, 1], [192, 88, 0], [206, 88, 1]], (x, y, dark) => rect(x, y, 14, 14, dark ? INK : '#fff', `stroke="${INK}" stroke-width="2"`)) + bust(100, 116, { eye: 'open', brow: 'firm', mouth: 'stern' }) + stroke('M8 90 h18 M2 120 h16', INK, 4),
  'butterfly-tickled': () => wall('#f6e9b6') + grass(208) + flower(226, 206, '#e58ac0') + bust(120, 112, { eye: 'squeezed', mouth: 'grin', blush: true }) + group('translate(120 126) scale(0.85)', path('M0 0 q-22 -22 -24 -4 q0 14 24 8 q24 6 24 -8 q-2 -18 -24 4 z', '#5f9fe0', thin), stroke('M0 -4 V8 M0 -4 l-5 -8 M0 -4 l5 -8', INK, 3)),
  'cocoa-winking': () => wall('#b5563f') + rect(14, 14, 72, 72, '#23305e', `stroke="#7a3a28" stroke-width="7"`) + ellipse(52, 44, 14, 14, '#ffe27a') + bust(118, 104, { eye: 'wink', mouth: 'sly', blush: true }) + table(226, '#7a4a2c', '#5a331c') + path('M176 182 H232 V226 Q232 236 222 236 H186 Q176 236 176 226 z', '#fff', line) + stroke('M232 192 q20 2 0 26', INK, 6) + ellipse(204, 182, 28, 8, '#7a4a2c', line) + ellipse(198, 180, 7, 5, '#fff', thin) + ellipse(211, 182, 6, 4, '#fff', thin) + stroke('M194 164 q-6 -9 0 -16 t0 -14 M214 164 q-6 -9 0 -16 t0 -14', '#fff', 4) + biscuit(150, 224),
};

export const pictures = Object.fromEntries(Object.entries(scenes).map(([id, scene]) => [id, picture(scene())]));
