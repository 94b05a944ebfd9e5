// Marzipan, a ginger tabby who minds a bakery, as SVG. Coordinates are in a 256 × 256 picture.

const INK = '#4a2c1a';
const FUR = '#e8913a';
const STRIPE = '#bf6420';
const CREAM = '#fff1d6';
const line = `stroke="${INK}" stroke-width="4" stroke-linejoin="round" stroke-linecap="round"`;
const thin = `stroke="${INK}" stroke-width="2.5" stroke-linejoin="round"`;

const rect = (x, y, w, h, fill, more = '') =>
  `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${fill}" ${more}/>`;
const ellipse = (x, y, rx, ry, fill, more = '') =>
  `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" fill="${fill}" ${more}/>`;
const path = (d, fill, more = '') => `<path d="${d}" fill="${fill}" ${more}/>`;
const stroke = (d, colour, width) =>
  `<path d="${d}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linecap="round"/>`;
const group = (transform, ...parts) => `<g transform="${transform}">${parts.join('')}</g>`;

// One eye at (x, y); `side` is -1 for the left one and 1 for the right one.
const eyes = {
  open: (x, y) => ellipse(x, y, 10, 11, '#6fae4b', line) + ellipse(x, y, 4, 8, '#1d140d') + ellipse(x + 2, y - 4, 2, 2.5, '#fff'),
  wide: (x, y) => ellipse(x, y, 13, 14, '#6fae4b', line) + ellipse(x, y, 9, 10, '#1d140d') + ellipse(x + 3, y - 4, 3, 3.5, '#fff'),
  half: (x, y) => ellipse(x, y, 10, 11, '#6fae4b', line) + ellipse(x, y + 2, 4, 7, '#1d140d') + path(`M${x - 13} ${y} h26 v-14 h-26 z`, FUR) + stroke(`M${x - 11} ${y} h22`, INK, 4),
  narrow: (x, y, side) => path(`M${x - 11} ${y - side * 3} L${x + 11} ${y + side * 3} Q${x} ${y + 10} ${x - 11} ${y - side * 3}`, '#6fae4b', line) + ellipse(x, y + 2, 3, 3.5, '#1d140d'),
  happy: (x, y) => stroke(`M${x - 10} ${y + 3} Q${x} ${y - 10} ${x + 10} ${y + 3}`, INK, 4),
  asleep: (x, y) => stroke(`M${x - 10} ${y} Q${x} ${y + 9} ${x + 10} ${y}`, INK, 4),
  squeezed: (x, y, side) => stroke(`M${x + side * 9} ${y - 7} L${x - side * 7} ${y} L${x + side * 9} ${y + 7}`, INK, 4),
  aside: (x, y) => ellipse(x, y, 12, 12, '#fff', line) + ellipse(x + 6, y + 1, 5, 7, '#1d140d'),
  up: (x, y) => ellipse(x, y, 11, 12, '#6fae4b', line) + ellipse(x + 3, y - 5, 5, 6, '#1d140d') + ellipse(x + 5, y - 7, 2, 2, '#fff'),
};

const mouths = {
  calm: stroke('M-9 19 Q-4 24 0 18 Q4 24 9 19', INK, 3),
  smile: stroke('M-13 17 Q-5 28 0 18 Q5 28 13 17', INK, 3.5),
  stern: stroke('M-9 23 Q0 17 9 23', INK, 3.5),
  open: path('M-9 19 Q0 16 9 19 Q8 34 0 34 Q-8 34 -9 19 z', '#8c2f39', line),
  wavy: stroke('M-11 22 q4 -6 7 0 t7 0 t7 -1', INK, 3),
};

// The head around (0, 0), about 100 wide.
function head({ eye = 'open', mouth = 'calm', ears = 'up', cap = 'side', extra = '' }) {
  const ear = ears === 'flat'
    ? path('M-44 -18 L-66 -22 L-40 -38 z', FUR, line) + path('M44 -18 L66 -22 L40 -38 z', FUR, line)
    : path('M-46 -14 L-50 -48 L-43 -42 L-40 -52 L-14 -38 z', FUR, line) + path('M46 -14 L46 -54 L14 -38 z', FUR, line)
      + path('M-41 -24 L-42 -38 L-26 -34 z', '#f7b7a3') + path('M40 -24 L40 -42 L24 -35 z', '#f7b7a3');
  const hat = {
    side: group('translate(14 -44) rotate(14)', path('M-22 6 Q-36 -6 -26 -18 Q-16 -34 0 -24 Q16 -34 26 -18 Q36 -6 22 6 z', '#fffdf7', line), rect(-21, 2, 42, 12, '#fffdf7', `${line} rx="3"`)),
    eye: group('translate(30 -26) rotate(48)', path('M-22 6 Q-36 -6 -26 -18 Q-16 -34 0 -24 Q16 -34 26 -18 Q36 -6 22 6 z', '#fffdf7', line), rect(-21, 2, 42, 12, '#fffdf7', `${line} rx="3"`)),
  }[cap];
  const whiskers = [-1, 1].map((side) => [6, 13, 20].map((y, i) => stroke(`M${side * 26} ${y + 2} L${side * 58} ${y - 4 + i * 5}`, INK, 2)).join('')).join('');
  return ear
    + ellipse(0, 0, 52, 44, FUR, line)
    + stroke('M0 -40 V-24 M-13 -37 L-10 -24 M13 -37 L10 -24', STRIPE, 6)
    + stroke('M-50 4 L-37 6 M-48 16 L-36 15 M50 4 L37 6 M48 16 L36 15', STRIPE, 5)
    + ellipse(-11, 17, 17, 14, CREAM) + ellipse(11, 17, 17, 14, CREAM) + ellipse(0, 25, 15, 12, CREAM)
    + mouths[mouth]
    + path('M-7 7 L7 7 L0 15 z', '#ee8a8f', `stroke="${INK}" stroke-width="2.5" stroke-linejoin="round"`)
    + eyes[eye](-22, -4, -1) + eyes[eye](22, -4, 1)
    + whiskers + hat + extra;
}

function neckerchief(x, y, width = 34) {
  return `<g transform="translate(${x} ${y})"><path d="M${-width} -6 Q0 10 ${width} -6 L${width - 6} 8 L0 34 L${6 - width} 8 z" fill="url(#gingham)" ${line}/></g>`;
}

// Sitting upright, seen from the front; the head's middle is at (x, y).
function sitting(x, y, look, { paws = true, tail = true } = {}) {
  return (tail ? stroke(`M${x + 44} ${y + 104} Q${x + 92} ${y + 98} ${x + 76} ${y + 58}`, INK, 24) + stroke(`M${x + 44} ${y + 104} Q${x + 92} ${y + 98} ${x + 76} ${y + 58}`, FUR, 17) + stroke(`M${x + 76} ${y + 92} l8 8 M${x + 80} ${y + 72} l11 2`, STRIPE, 6) : '')
    + path(`M${x - 40} ${y + 30} Q${x - 64} ${y + 112} ${x - 44} ${y + 116} H${x + 44} Q${x + 64} ${y + 112} ${x + 40} ${y + 30} z`, FUR, line)
    + stroke(`M${x - 52} ${y + 76} l13 -3 M${x - 53} ${y + 92} l13 -2 M${x + 52} ${y + 76} l-13 -3 M${x + 53} ${y + 92} l-13 -2`, STRIPE, 6)
    + ellipse(x, y + 70, 25, 34, CREAM)
    + (paws ? ellipse(x - 19, y + 113, 17, 11, CREAM, line) + ellipse(x + 19, y + 113, 17, 11, CREAM, line) : '')
    + neckerchief(x, y + 40)
    + group(`translate(${x} ${y})`, head(look));
}

const counter = (y, fill = '#b9793f') => rect(-4, y, 264, 260 - y, fill, line) + stroke(`M0 ${y + 16} H256`, '#8f5a2a', 4);
const wall = (fill) => rect(0, 0, 256, 256, fill);
const stand = (x, y, cake) => rect(x - 3, y, 6, 36, '#e9e4da', line) + ellipse(x, y + 36, 18, 5, '#e9e4da', line) + ellipse(x, y, 32, 7, '#f6f2ea', line) + cake;
const bun = (x, y, fill = '#d99a52') => path(`M${x - 15} ${y} Q${x - 15} ${y - 18} ${x} ${y - 18} Q${x + 15} ${y - 18} ${x + 15} ${y} z`, fill, line);
const candle = (x, y) => rect(x - 3, y - 26, 6, 26, '#fff', line) + path(`M${x} ${y - 46} Q${x + 8} ${y - 34} ${x} ${y - 29} Q${x - 8} ${y - 34} ${x} ${y - 46} z`, '#ffc93c', thin);

const scenes = {
  'counter-stern': () => wall('#f9dcc4') + stand(34, 150, bun(34, 146, '#f4b6c2')) + stand(222, 150, bun(222, 146, '#a7c8a0')) + counter(196) + sitting(128, 92, { eye: 'half', mouth: 'stern' }),
  'window-proud': () => wall('#bfe3f2') + ellipse(60, 56, 34, 34, '#ffe27a') + rect(0, 0, 256, 256, 'none', 'stroke="#8a5a33" stroke-width="18"') + stroke('M128 0 V70', '#8a5a33', 7)
    + path('M168 216 L205 74 L242 216 z', '#d99a52', line) + [[205, 96], [197, 122], [214, 124], [190, 150], [207, 152], [223, 152], [184, 178], [204, 180], [224, 180], [180, 204], [202, 206], [226, 206]].map(([x, y]) => ellipse(x, y, 11, 11, '#eab566', thin)).join('')
    + counter(214) + sitting(98, 104, { eye: 'happy', mouth: 'smile' }, { tail: false }),
  'flour-sneeze': () => wall('#e6ddf0') + counter(200, '#c9a27a') + path('M176 196 Q168 124 190 118 L232 122 Q250 160 240 200 z', '#d9c7a3', line) + path('M186 120 L214 96 L236 122 z', '#fff', line)
    + sitting(110, 96, { eye: 'squeezed', mouth: 'open', extra: ellipse(-20, -30, 15, 8, '#fff') + ellipse(34, 22, 12, 8, '#fff') })
    + [[30, 60, 22], [62, 30, 16], [170, 60, 24], [200, 40, 15], [34, 170, 24], [186, 176, 20], [224, 80, 14], [150, 214, 26], [70, 216, 22]].map(([x, y, r]) => ellipse(x, y, r, r * 0.8, '#ffffff', 'opacity="0.92"')).join(''),
  'ledger-reading': () => wall('#d6e2cf') + rect(196, 92, 10, 60, '#6b4a2a') + path('M168 96 Q201 46 234 96 z', '#3f8f5a', line) + ellipse(201, 150, 22, 6, '#6b4a2a', line) + counter(152)
    + group('translate(104 92)', head({ eye: 'half', mouth: 'calm', extra: ellipse(-22, 2, 16, 15, 'none', line) + ellipse(22, 2, 16, 15, 'none', line) + stroke('M-6 2 H6', INK, 4) })) + neckerchief(104, 132)
    + path('M22 214 L34 168 Q78 160 104 172 Q130 160 174 168 L186 214 Q140 206 104 218 Q68 206 22 214 z', '#fffaf0', line) + stroke('M104 172 V216 M42 182 H88 M40 194 H88 M122 182 H168 M122 194 H170', '#9b8b78', 3) + ellipse(150, 190, 20, 12, CREAM, line),
  'oven-nap': () => wall('#8d4f3a') + [...Array(8).keys()].map((r) => [...Array(6).keys()].map((c) => rect(c * 48 - (r % 2) * 24, r * 24, 44, 20, '#a9604a')).join('')).join('')
    + path('M58 172 V96 Q58 36 128 36 Q198 36 198 96 V172 z', '#3a1d12', line) + path('M76 172 V104 Q76 60 128 60 Q180 60 180 104 V172 z', '#ff9d2e') + path('M104 172 Q90 132 116 112 Q118 134 130 122 Q128 92 146 84 Q142 118 156 130 Q164 150 152 172 z', '#ffe27a')
    + rect(0, 176, 256, 80, '#c8a58a') + rect(26, 206, 204, 34, '#8fb7d9', `${line} rx="10"`)
    + ellipse(134, 192, 84, 36, FUR, line) + stroke('M150 160 l4 16 M170 164 l2 16 M190 172 l-2 14', STRIPE, 6) + stroke('M206 206 Q170 236 110 224', INK, 22) + stroke('M206 206 Q170 236 110 224', FUR, 15)
    + group('translate(80 182) rotate(-8)', head({ eye: 'asleep', mouth: 'calm', cap: 'eye' })),
  'eclair-guilty': () => wall('#f7d9dc') + counter(190) + sitting(98, 92, { eye: 'aside', mouth: 'wavy', extra: ellipse(-30, 22, 8, 6, '#fff', thin) + ellipse(28, 26, 9, 6, '#fff', thin) }, { tail: false })
    + ellipse(200, 206, 46, 14, '#f3efe6', line) + path('M170 198 Q170 178 192 178 L214 178 L210 200 L176 202 z', '#d99a52', line) + path('M172 190 Q176 176 192 176 L214 177 L213 186 Q190 184 172 190 z', '#5a3020') + ellipse(214, 190, 9, 10, '#fff6df', line),
  'rain-door': () => wall('#7d6a58') + rect(30, 14, 196, 222, '#7fa6c9', `stroke="#5a4030" stroke-width="12"`) + [...Array(22).keys()].map((i) => stroke(`M${44 + ((i * 37) % 176)} ${24 + ((i * 53) % 180)} l-6 18`, '#d4e6f5', 3)).join('')
    + stroke('M128 14 L100 34 M128 14 L156 34', INK, 3) + rect(84, 32, 88, 30, '#fff5dc', line) + `<text x="128" y="55" font-family="DejaVu Sans" font-size="22" font-weight="bold" text-anchor="middle" fill="#b3392f">OPEN</text>`
    + rect(0, 236, 256, 20, '#5a4030') + sitting(128, 124, { eye: 'up', mouth: 'stern', ears: 'flat' }),
  'scale-weighing': () => wall('#f3e3b3') + counter(224, '#a06a3c') + rect(122, 40, 12, 176, '#c99a2e', line) + path('M96 224 L160 224 L140 204 H116 z', '#c99a2e', line) + ellipse(128, 38, 10, 10, '#e3b84a', line) + stroke('M56 66 L200 50', INK, 12) + stroke('M56 66 L200 50', '#c99a2e', 7)
    + group('translate(22 26) scale(0.62)', sitting(70, 130, { eye: 'narrow', mouth: 'stern' }, { tail: false })) + ellipse(66, 188, 60, 10, '#e3b84a', line)
    + stroke('M200 50 L166 150 M200 50 L236 150', INK, 3) + path('M172 146 Q202 92 232 146 z', '#ffffff', line) + ellipse(202, 150, 44, 9, '#e3b84a', line),
  'moth-pounce': () => wall('#cfe8d5') + [20, 62, 104, 146, 188].map((x) => group(`rotate(-14 ${x + 20} 214)`, rect(x, 184, 26, 76, '#d99a52', `${line} rx="13"`), stroke(`M${x + 6} 202 l14 -6 M${x + 6} 220 l14 -6`, '#f3cf97', 4))).join('') + counter(232)
    + group('rotate(-24 110 140)', stroke('M58 184 Q20 196 24 152', INK, 22), stroke('M58 184 Q20 196 24 152', FUR, 15), ellipse(94, 158, 48, 38, FUR, line), stroke('M66 132 l6 14 M84 124 l3 14 M60 176 l12 -4', STRIPE, 6), ellipse(62, 190, 18, 12, CREAM, line), ellipse(96, 194, 18, 12, CREAM, line), stroke('M132 120 L166 84', INK, 24), stroke('M132 120 L166 84', FUR, 17), stroke('M146 138 L190 118', INK, 24), stroke('M146 138 L190 118', FUR, 17), ellipse(168, 82, 13, 12, CREAM, line), ellipse(192, 117, 13, 12, CREAM, line))
    + neckerchief(124, 140) + group('translate(118 98) rotate(8)', head({ eye: 'wide', mouth: 'open' })) + path('M216 44 Q190 14 192 42 Q196 56 216 50 Q236 56 240 42 Q242 14 216 44 z', '#fff', line) + stroke('M216 40 V58', INK, 5),
  'birthday-smile': () => wall('#fdeec9') + [[20, 18, '#f08a8a'], [64, 30, '#8fc0e0'], [192, 30, '#a9d18e'], [236, 18, '#f4c95d']].map(([x, y, c]) => path(`M${x - 14} ${y - 10} L${x + 14} ${y - 10} L${x} ${y + 16} z`, c, thin)).join('') + counter(212) + sitting(128, 96, { eye: 'happy', mouth: 'smile' }, { tail: false, paws: false })
    + candle(92, 176) + candle(128, 174) + candle(164, 176) + path('M62 176 H194 V224 H62 z', '#f6a5bd', line) + path('M62 176 H194 V190 Q183 202 172 190 Q161 202 150 190 Q139 202 128 190 Q117 202 106 190 Q95 202 84 190 Q73 202 62 190 z', '#fff5f0', line) + ellipse(128, 226, 82, 9, '#efe9df', line),
  'bicycle-basket': () => wall('#cfeaf7') + rect(0, 176, 256, 80, '#b9b2a6') + rect(0, 168, 256, 12, '#8fbf74') + ellipse(28, 110, 34, 40, '#6faa5c') + rect(22, 140, 12, 40, '#7a5230') + ellipse(232, 104, 36, 42, '#6faa5c') + rect(226, 138, 12, 42, '#7a5230')
    + ellipse(78, 226, 40, 40, 'none', `stroke="${INK}" stroke-width="6"`) + stroke('M78 226 L128 176 L190 196', '#2f8f5b', 9) + rect(186, 96, 26, 74, '#d7b98a', `${line}`) + rect(214, 108, 24, 62, '#d7b98a', line) + ellipse(199, 96, 11, 16, '#d99a52', line) + ellipse(226, 108, 10, 14, '#d99a52', line)
    + sitting(116, 84, { eye: 'open', mouth: 'calm' }, { tail: false }) + path('M52 160 H244 L230 222 H66 z', '#c58f4e', line) + stroke('M60 176 H238 M64 192 H234 M68 208 H230 M92 162 V220 M124 162 V220 M156 162 V220 M188 162 V220', '#8f5f2a', 3),
  'night-moon': () => wall('#23305e') + ellipse(196, 62, 44, 44, '#ffe27a') + ellipse(182, 52, 8, 8, '#f3cf5a') + ellipse(208, 78, 10, 10, '#f3cf5a') + [[24, 30], [70, 20], [112, 44], [34, 96], [236, 130], [140, 18]].map(([x, y]) => ellipse(x, y, 3, 3, '#fff')).join('')
    + rect(14, 128, 44, 80, '#9c5b45', line) + rect(8, 118, 56, 16, '#b36b52', line) + path('M-10 256 L-10 214 L266 186 L266 256 z', '#a5472f', line) + [...Array(9).keys()].map((i) => stroke(`M${i * 30} ${222 - i * 3} q15 14 30 -3`, '#7d3220', 4)).join('') + sitting(122, 108, { eye: 'up', mouth: 'calm' }),
  'vacuum-alarmed': () => wall('#d9d3ea') + rect(0, 206, 256, 50, '#b98b5e', line) + sitting(92, 92, { eye: 'wide', mouth: 'wavy', ears: 'flat' }, { tail: false })
    + stroke('M214 168 Q250 110 214 60 Q190 30 176 52', INK, 15) + stroke('M214 168 Q250 110 214 60 Q190 30 176 52', '#8d949a', 8) + path('M156 222 Q156 170 204 168 Q246 170 246 222 z', '#d8453c', line) + rect(150, 218, 102, 14, '#5a3a33', line) + ellipse(172, 236, 12, 12, '#3a3a40', line) + ellipse(230, 236, 12, 12, '#3a3a40', line) + ellipse(186, 196, 8, 9, '#fff', line) + ellipse(218, 196, 8, 9, '#fff', line),
  'rosette-smug': () => wall('#cbdcf2') + counter(214, '#a06a3c') + sitting(96, 98, { eye: 'half', mouth: 'smile' }, { tail: false })
    + path('M188 138 L176 206 L194 194 L204 210 L210 146 z', '#c8443b', line) + path('M206 146 L214 210 L224 194 L242 204 L226 138 z', '#c8443b', line) + [...Array(10).keys()].map((i) => group(`translate(208 116) rotate(${i * 36})`, ellipse(0, -26, 12, 14, '#e4574f', thin))).join('') + ellipse(208, 116, 25, 25, '#ffe27a', line) + `<text x="208" y="128" font-family="DejaVu Sans" font-size="32" font-weight="bold" text-anchor="middle" fill="${INK}">1</text>`,
};

const defs = `<defs><pattern id="gingham" width="12" height="12" patternUnits="userSpaceOnUse"><rect width="12" height="12" fill="#e8f0fb"/><rect width="6" height="12" fill="#3f74c4" opacity="0.55"/><rect width="12" height="6" fill="#3f74c4" opacity="0.55"/></pattern></defs>`;

export const pictures = Object.fromEntries(
  Object.entries(scenes).map(([id, scene]) => [
    id,
    `<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256" viewBox="0 0 256 256">${defs}${scene()}</svg>`,
  ]),
);
