// Thistle, a hedgehog archivist of a very small museum, as SVG.
import { INK, brows, ellipse, eyes, group, line, outlined, path, picture, rect, scenery, spikes, spots, stroke, table, text, thin, wall } from '../shapes.mjs';

const SPINE = '#7a5238';
const FACE = '#f3d9b1';
const PLUM = '#7b3f73';
const look = eyes('#5b3a1e', FACE);

const mouths = {
  calm: stroke('M-10 42 Q0 47 10 42', INK, 4),
  smile: stroke('M-16 39 Q0 54 16 39', INK, 4.5),
  grin: path('M-18 38 Q0 44 18 38 Q14 58 0 58 Q-14 58 -18 38 z', '#8c2f39', line),
  stern: stroke('M-12 46 Q0 38 12 46', INK, 4.5),
  firm: stroke('M-12 43 H12', INK, 4.5),
  open: ellipse(0, 46, 9, 10, '#8c2f39', line),
  wavy: stroke('M-15 44 q5 -7 10 0 t10 0 t10 -1', INK, 4),
};

/** The head around (0, 0), about 150 wide with its spines. */
function head({ eye = 'open', brow = 'none', mouth = 'calm', blush = false, extra = '' }) {
  return spikes(22, 82, 76, 0.78, SPINE) + spikes(18, 66, 60, 0.8, '#8f6547', '')
    + ellipse(-46, -26, 14, 14, '#c79a72', line) + ellipse(46, -26, 14, 14, '#c79a72', line)
    + path('M-52 6 Q-52 -36 -22 -38 Q-8 -38 0 -26 Q8 -38 22 -38 Q52 -36 52 6 Q52 60 0 60 Q-52 60 -52 6 z', FACE, line)
    + mouths[mouth] + (blush ? scenery.blush(38, 26) : '')
    + look[eye](-23, -4, -1) + look[eye](23, -4, 1) + brows[brow](23, -24)
    + ellipse(0, 24, 12, 9, '#2a1c15', line) + ellipse(-3, 21, 3, 2, '#fff')
    + stroke('M-38 8 Q-38 20 -23 20 Q-8 20 -8 8 M8 8 Q8 20 23 20 Q38 20 38 8 M-8 10 Q0 5 8 10', '#c9932b', 4)
    + group('translate(66 22) rotate(14)', stroke('M-6 -12 L0 0', INK, 2.5), path('M-9 0 h18 v26 l-9 6 l-9 -6 z', '#fff7e2', thin), stroke('M-5 9 h10 M-5 16 h10', '#b0472f', 2.5))
    + extra;
}

/** Shoulders in the plum waistcoat, the head's middle at (x, y). */
function bust(x, y, face) {
  return group(`translate(${x} ${y})`,
    path('M-64 160 Q-72 66 -30 54 H30 Q72 66 64 160 z', SPINE, line),
    path('M-42 160 Q-46 70 -20 56 L0 76 L20 56 Q46 70 42 160 z', PLUM, line),
    path('M-18 56 L0 78 L18 56 z', '#fff7e2', line),
    stroke('M0 78 V160', '#5c2c56', 3), ellipse(0, 94, 4.5, 4.5, '#e8b93c', thin), ellipse(0, 116, 4.5, 4.5, '#e8b93c', thin),
    head(face));
}

const paw = (x, y) => ellipse(x, y, 14, 12, FACE, line) + stroke(`M${x - 4} ${y + 3} v6 M${x + 4} ${y + 3} v6`, INK, 2.5);
const arm = (d, x, y) => outlined(d, SPINE, 15) + paw(x, y);
const label = (x, y, words, size = 15) => rect(x - 27, y - 13, 54, 26, '#fff7e2', `${thin} rx="3"`) + text(x, y + 6, words, size);
const shelves = (fill) => wall(fill) + rect(0, 52, 256, 9, '#8a5e39', thin) + rect(0, 124, 256, 9, '#8a5e39', thin);
const books = (x, y) => rect(x, y - 36, 12, 36, '#b0472f', thin) + rect(x + 12, y - 44, 10, 44, '#3f7a6d', thin) + rect(x + 22, y - 32, 14, 32, '#d9a441', thin);
const jar = (x, y, fill) => rect(x - 11, y - 30, 22, 30, fill, `${thin} rx="5"`) + rect(x - 13, y - 36, 26, 9, '#8a5e39', thin);
const teacup = (x, y) => path(`M${x - 20} ${y - 22} H${x + 20} Q${x + 18} ${y} ${x} ${y} Q${x - 18} ${y} ${x - 20} ${y - 22} z`, '#fff', line) + stroke(`M${x + 20} ${y - 17} q14 1 -3 12`, INK, 4) + stroke(`M${x - 14} ${y - 12} h28`, '#4f8fd0', 4);
const steam = (x, y) => stroke(`M${x - 8} ${y} q-7 -9 0 -16 t0 -14 M${x + 8} ${y} q-7 -9 0 -16 t0 -14`, '#ffffff', 4);

const scenes = {
  'label-fussy': () => shelves('#e9d9b8') + jar(24, 52, '#9cc7c0') + books(204, 52) + books(2, 124) + bust(128, 104, { eye: 'half', brow: 'one', mouth: 'stern' }) + table(214, '#a9713f', '#7c4e28')
    + arm('M76 176 L50 200', 46, 202) + label(46, 180, '1.07') + arm('M182 178 L206 204', 208, 206) + stroke('M214 202 L238 158', INK, 9) + stroke('M214 202 L238 158', '#3f7a6d', 4),
  'case-proud': () => wall('#c9dfe8') + rect(0, 208, 256, 48, '#8fa9b3', line) + bust(98, 100, { eye: 'happy', mouth: 'smile', blush: true })
    + rect(178, 116, 66, 88, '#eaf7fb', `${line} opacity="0.95"`) + path('M190 170 Q210 138 232 170 z', '#e39a4c', line) + ellipse(211, 150, 6, 6, '#e39a4c', line) + ellipse(211, 170, 24, 5, '#c97f35', line) + rect(170, 202, 82, 60, '#8a5e39', line) + label(211, 226, 'LID', 17) + stroke('M188 126 l14 14', '#fff', 5),
  'ledger-concentrating': () => wall('#33503f') + path('M196 40 L236 40 L250 78 H182 z', '#58b07a', line) + rect(212, 78, 8, 70, '#c9932b', thin) + ellipse(216, 88, 34, 8, '#fff2b3') + bust(118, 98, { eye: 'down', mouth: 'firm' })
    + table(204, '#7b4a2c', '#5a331c') + path('M30 240 L42 184 Q84 174 118 188 Q152 174 194 184 L206 240 Q158 228 118 242 Q78 228 30 240 z', '#fffaf0', line) + stroke('M118 188 V240 M58 198 H100 M54 212 H100 M136 198 H178 M136 212 H182', '#9b8b78', 3) + paw(60, 222) + paw(172, 222) + stroke('M176 214 L198 176', INK, 8) + stroke('M176 214 L198 176', '#fff', 4),
  'lantern-brave': () => wall('#1f2747') + rect(18, 20, 60, 92, '#2f3a66', `stroke="#131935" stroke-width="6"`) + rect(178, 20, 60, 60, '#2f3a66', `stroke="#131935" stroke-width="6"`) + ellipse(54, 176, 96, 90, '#ffd35a', 'opacity="0.28"') + bust(142, 106, { eye: 'open', brow: 'firm', mouth: 'firm' })
    + arm('M96 188 L52 146', 50, 144) + stroke('M50 132 V156', INK, 4) + path('M30 164 L50 148 L70 164 z', '#c9932b', line) + rect(33, 164, 34, 44, '#ffe27a', line) + path('M50 200 q-12 -14 0 -30 q12 16 0 30 z', '#f0803c') + rect(28, 206, 44, 10, '#c9932b', line),
  'vase-startled': () => wall('#f1c9bb') + rect(0, 216, 256, 40, '#b98b6a', line) + bust(96, 104, { eye: 'wide', brow: 'raised', mouth: 'open' }) + arm('M150 184 L176 150', 178, 146)
    + group('translate(216 92) rotate(32)', path('M-14 -44 H14 L9 -28 Q30 -8 22 20 Q16 38 0 38 Q-16 38 -22 20 Q-30 -8 -9 -28 z', '#4f8fd0', line), stroke('M-22 2 q11 10 22 0 t22 0', '#fff', 5)) + stroke('M184 34 l-10 -12 M168 62 l-14 -4 M244 146 l6 12 M210 150 l-2 14', INK, 4),
  'books-asleep': () => wall('#4a4067') + scenery.moon(34, 40, 24) + table(216, '#8a5e39', '#63402a') + bust(122, 108, { eye: 'asleep', mouth: 'calm' }) + rect(20, 222, 200, 30, '#b0472f', `${line} rx="4"`) + rect(36, 194, 172, 28, '#3f7a6d', `${line} rx="4"`) + rect(48, 168, 150, 26, '#d9a441', `${line} rx="4"`) + paw(84, 168) + paw(160, 168) + group('translate(0 0)', text(196, 84, 'z', 22, '#fff'), text(212, 60, 'z', 28, '#fff'), text(232, 36, 'Z', 34, '#fff')),
  'magnifier-curious': () => wall('#d7e7c8') + rect(0, 216, 256, 40, '#a9713f', line) + bust(128, 104, { eye: 'open', brow: 'one', mouth: 'open' }) + arm('M190 196 L196 150', 196, 154)
    + outlined('M190 146 L170 120', '#8a5e39', 9) + ellipse(153, 100, 31, 31, '#dff3fa', `stroke="#c9932b" stroke-width="8"`) + ellipse(153, 100, 35, 35, 'none', thin) + ellipse(153, 102, 21, 23, '#fff', line) + ellipse(151, 104, 12, 14, '#5b3a1e') + ellipse(151, 104, 8, 9, '#1a120c') + ellipse(156, 97, 4, 5, '#fff') + ellipse(40, 212, 11, 8, '#c9b25b', line) + stroke('M40 204 v16', INK, 2.5),
  'leak-worried': () => wall('#aebccb') + path('M0 0 H256 V26 Q190 34 150 24 Q80 14 0 28 z', '#8795a5', line) + spots([[40, 48], [40, 92], [216, 60], [216, 110], [216, 156]], (x, y) => path(`M${x} ${y - 14} q-10 15 0 18 q10 -3 0 -18 z`, '#4f9bd8', thin)) + rect(0, 224, 256, 32, '#8a6a52', line) + bust(126, 108, { eye: 'up', brow: 'worried', mouth: 'wavy' })
    + path('M184 190 H250 L242 244 H192 z', '#9aa5ad', line) + ellipse(217, 190, 33, 8, '#4f9bd8', line) + arm('M70 190 L44 180', 44, 178) + path('M14 170 Q44 130 74 170 z', '#e4574f', line) + stroke('M44 150 V176', INK, 4),
  'moth-cross': () => wall('#e3c16f') + rect(16, 10, 224, 108, '#a8433c', line) + rect(28, 22, 200, 84, '#c25b4c') + spots([[60, 44], [198, 38], [216, 84]], (x, y) => ellipse(x, y, 10, 8, '#e3c16f', thin)) + rect(0, 220, 256, 36, '#8a5e39', line) + bust(128, 112, { eye: 'cross', mouth: 'stern' })
    + spots([[34, 60], [222, 130]], (x, y) => path(`M${x} ${y} q-24 -24 -24 -2 q2 14 24 6 q22 8 24 -6 q0 -22 -24 2 z`, '#fff', thin) + stroke(`M${x} ${y - 2} v12`, INK, 4)) + arm('M72 190 L42 166', 40, 164) + stroke('M44 158 L22 116', INK, 6) + ellipse(16, 102, 18, 22, '#f6e6c8', line),
  'open-day-delighted': () => wall('#f9e6b0') + scenery.bunting(16) + rect(0, 214, 256, 42, '#c79a72', line) + bust(128, 112, { eye: 'happy', brow: 'raised', mouth: 'grin', blush: true }) + arm('M70 188 L36 150', 34, 146) + arm('M186 188 L220 150', 222, 146) + group('translate(222 118) rotate(10)', rect(-24, -15, 48, 30, '#fff7e2', `${line} rx="4"`), text(0, 6, 'No 1', 15)),
  'tea-content': () => wall('#bfd9b4') + rect(20, 18, 78, 88, '#dff3fa', `stroke="#8a5e39" stroke-width="7"`) + stroke('M59 18 V106 M20 62 H98', '#8a5e39', 5) + bust(136, 100, { eye: 'asleep', mouth: 'smile', blush: true }) + table(206, '#a9713f', '#7c4e28') + steam(128, 166) + teacup(128, 202) + ellipse(128, 206, 32, 6, '#fff', line) + paw(98, 190) + paw(160, 190) + ellipse(216, 214, 26, 7, '#fff', line) + rect(200, 200, 32, 12, '#d99a52', `${thin} rx="5"`),
  'snow-shy': () => wall('#9fc3e0') + scenery.cloud(40, 34) + scenery.cloud(220, 44) + rect(0, 200, 256, 56, '#f7fbff', line) + bust(128, 102, { eye: 'aside', mouth: 'wavy', blush: true }) + group('translate(128 168)', path('M-50 -10 Q0 22 50 -10 L54 12 Q0 44 -54 12 z', '#4f8fd0', line), path('M26 14 L44 8 L54 62 L32 64 z', '#4f8fd0', line), stroke('M-36 6 l-3 14 M0 16 v16 M34 6 l4 14 M36 40 l14 -2', '#fff', 5)) + scenery.snow(),
  'ladder-dizzy': () => shelves('#ddd2ea') + books(6, 124) + books(212, 52) + jar(26, 52, '#e0a7a0') + bust(134, 112, { eye: 'dizzy', brow: 'worried', mouth: 'wavy' }) + stroke('M52 256 L68 130 M204 256 L190 130 M58 214 H198 M54 242 H202', INK, 13) + stroke('M52 256 L68 130 M204 256 L190 130 M58 214 H198 M54 242 H202', '#d9a441', 7) + paw(66, 176) + paw(196, 176) + stroke('M92 20 q14 -10 26 0 M150 14 q14 -8 26 4', INK, 4),
  'pedestal-sad': () => wall('#8f9bb3') + rect(0, 216, 256, 40, '#6d7890', line) + bust(102, 104, { eye: 'sad', brow: 'worried', mouth: 'stern' }) + rect(184, 162, 60, 94, '#e8e4da', line) + rect(176, 150, 76, 16, '#f5f2ea', line) + label(214, 200, 'GONE', 15) + ellipse(214, 146, 24, 4, '#c9c4b8'),
};

export const pictures = Object.fromEntries(Object.entries(scenes).map(([id, scene]) => [id, picture(scene())]));
