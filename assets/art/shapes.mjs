// Shapes that the drawn animals share: outlines, eyes and mouths, and scenery. Coordinates are in a 256 × 256 picture.

export const INK = '#3b2a20';
export const line = `stroke="${INK}" stroke-width="4" stroke-linejoin="round" stroke-linecap="round"`;
export const thin = `stroke="${INK}" stroke-width="2.5" stroke-linejoin="round" stroke-linecap="round"`;

export const rect = (x, y, w, h, fill, more = '') => `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${fill}" ${more}/>`;
export const ellipse = (x, y, rx, ry, fill, more = '') => `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" fill="${fill}" ${more}/>`;
export const path = (d, fill, more = '') => `<path d="${d}" fill="${fill}" ${more}/>`;
export const stroke = (d, colour, width) => `<path d="${d}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round"/>`;
export const outlined = (d, colour, width) => stroke(d, INK, width + 7) + stroke(d, colour, width);
export const group = (transform, ...parts) => `<g transform="${transform}">${parts.join('')}</g>`;
export const text = (x, y, words, size, fill = INK) => `<text x="${x}" y="${y}" font-family="DejaVu Sans" font-size="${size}" font-weight="bold" text-anchor="middle" fill="${fill}">${words}</text>`;
export const wall = (fill) => rect(0, 0, 256, 256, fill);
export const table = (y, fill, edge) => rect(-4, y, 264, 260 - y, fill, line) + stroke(`M0 ${y + 14} H256`, edge, 4);
export const spots = (list, draw) => list.map((place) => draw(...place)).join('');

/** A ring of spikes around (0, 0). */
export function spikes(count, rx, ry, inner, fill, more = line) {
  const points = [...Array(count * 2).keys()].map((i) => {
    const angle = (Math.PI * i) / count - Math.PI / 2;
    const reach = i % 2 ? inner : 1;
    return `${(Math.cos(angle) * rx * reach).toFixed(1)},${(Math.sin(angle) * ry * reach).toFixed(1)}`;
  });
  return `<polygon points="${points.join(' ')}" fill="${fill}" ${more}/>`;
}

/** Eyes by name; each draws one at (x, y), `side` -1 for the left and 1 for the right one. */
export function eyes(iris, lid) {
  const ball = (x, y, rx, ry, dx, dy, pupil) => ellipse(x, y, rx, ry, '#fff', line) + ellipse(x + dx, y + dy, pupil + 2.5, pupil + 3.5, iris) + ellipse(x + dx, y + dy, pupil, pupil + 1, '#1a120c') + ellipse(x + dx + 2, y + dy - 3, 2, 2.4, '#fff');
  return {
    open: (x, y) => ball(x, y, 12, 13, 0, 1, 5),
    wide: (x, y) => ball(x, y, 16, 17, 0, 0, 4),
    half: (x, y) => ball(x, y, 12, 13, 0, 3, 5) + path(`M${x - 15} ${y} h30 v-17 h-30 z`, lid) + stroke(`M${x - 13} ${y} h26`, INK, 4),
    down: (x, y) => ball(x, y, 12, 12, 0, 6, 4) + path(`M${x - 15} ${y - 1} h30 v-15 h-30 z`, lid) + stroke(`M${x - 13} ${y - 1} Q${x} ${y - 6} ${x + 13} ${y - 1}`, INK, 4),
    up: (x, y) => ball(x, y, 13, 14, 2, -6, 5),
    aside: (x, y) => ball(x, y, 12, 13, 6, 1, 4.5),
    cross: (x, y, side) => ball(x, y, 12, 12, -side * 2, 2, 4.5) + path(`M${x - 15} ${y - 16} h30 v${side < 0 ? 14 : 5} L${x - 15} ${y + (side < 0 ? -11 : -2)} z`, lid) + stroke(`M${x - side * 14} ${y - 2} L${x + side * 14} ${y - 12}`, INK, 5),
    sad: (x, y, side) => ball(x, y, 12, 13, 0, 3, 5) + path(`M${x - side * 15} ${y - 17} L${x - side * 15} ${y - 13} L${x + side * 15} ${y - 1} L${x + side * 15} ${y - 17} z`, lid) + stroke(`M${x - side * 13} ${y - 12} L${x + side * 13} ${y - 2}`, INK, 4) + path(`M${x + side * 4} ${y + 14} q-7 12 0 14 q7 -2 0 -14 z`, '#7cc4f0', thin),
    happy: (x, y) => stroke(`M${x - 12} ${y + 4} Q${x} ${y - 13} ${x + 12} ${y + 4}`, INK, 5),
    asleep: (x, y) => stroke(`M${x - 12} ${y} Q${x} ${y + 11} ${x + 12} ${y}`, INK, 5),
    squeezed: (x, y, side) => stroke(`M${x + side * 11} ${y - 8} L${x - side * 8} ${y} L${x + side * 11} ${y + 8}`, INK, 5),
    dizzy: (x, y) => ellipse(x, y, 14, 14, '#fff', line) + stroke(`M${x} ${y} q4 -4 5 1 q0 6 -6 5 q-8 -2 -6 -9 q4 -8 12 -5`, INK, 3),
    wink: (x, y, side) => (side < 0 ? ball(x, y, 12, 13, 0, 1, 5) : stroke(`M${x - 12} ${y + 2} Q${x} ${y - 8} ${x + 12} ${y + 2}`, INK, 5)),
    star: (x, y) => ellipse(x, y, 15, 15, '#fff', line) + group(`translate(${x} ${y})`, spikes(5, 12, 12, 0.45, '#f5b921', thin)),
  };
}

/** Brows over both eyes; `gap` is the eyes' distance from the middle. */
export const brows = {
  none: () => '',
  worried: (gap, y) => stroke(`M${-gap - 11} ${y + 2} L${-gap + 9} ${y - 7} M${gap + 11} ${y + 2} L${gap - 9} ${y - 7}`, INK, 5),
  firm: (gap, y) => stroke(`M${-gap - 12} ${y - 6} L${-gap + 10} ${y + 3} M${gap + 12} ${y - 6} L${gap - 10} ${y + 3}`, INK, 5),
  raised: (gap, y) => stroke(`M${-gap - 11} ${y - 4} Q${-gap} ${y - 13} ${-gap + 11} ${y - 4} M${gap - 11} ${y - 4} Q${gap} ${y - 13} ${gap + 11} ${y - 4}`, INK, 4.5),
  one: (gap, y) => stroke(`M${-gap - 11} ${y + 1} L${-gap + 11} ${y + 1} M${gap - 11} ${y - 6} Q${gap} ${y - 16} ${gap + 11} ${y - 6}`, INK, 5),
};

/** A speech-sized drop, bunting, stars and other scenery. */
export const scenery = {
  bunting: (y = 14) => stroke(`M0 ${y} Q128 ${y + 26} 256 ${y}`, INK, 3) + spots([[18, 4, '#e4574f'], [60, 13, '#4f8fd0'], [104, 17, '#f3c243'], [150, 17, '#5aa866'], [194, 13, '#e4574f'], [236, 5, '#4f8fd0']], (x, dy, c) => path(`M${x - 14} ${y + dy - 3} h28 l-14 26 z`, c, thin)),
  rain: (colour = '#d4e6f5') => stroke([...Array(26).keys()].map((i) => `M${(i * 37 + 11) % 256} ${(i * 53) % 236} l-6 18`).join(' '), colour, 3),
  snow: () => spots([...Array(24).keys()].map((i) => [(i * 67 + 15) % 256, (i * 41 + 9) % 250, 3 + (i % 3)]), (x, y, r) => ellipse(x, y, r, r, '#fff')),
  stars: () => spots([[22, 26], [60, 60], [104, 18], [222, 30], [240, 90], [16, 110], [176, 16], [44, 150]], (x, y) => ellipse(x, y, 3, 3, '#fff6cf')),
  moon: (x, y, r = 30) => ellipse(x, y, r, r, '#ffe27a') + ellipse(x - r * 0.3, y - r * 0.2, r * 0.18, r * 0.18, '#f3cf5a') + ellipse(x + r * 0.25, y + r * 0.3, r * 0.22, r * 0.22, '#f3cf5a'),
  sun: (x, y, r = 28) => group(`translate(${x} ${y})`, spikes(12, r * 1.5, r * 1.5, 0.7, '#ffd34d', '')) + ellipse(x, y, r, r, '#ffe589'),
  cloud: (x, y, fill = '#fff') => ellipse(x - 18, y + 4, 18, 13, fill) + ellipse(x + 18, y + 4, 20, 13, fill) + ellipse(x, y - 5, 22, 17, fill),
  sleep: (x, y) => text(x, y, 'z', 22) + text(x + 18, y - 18, 'z', 28) + text(x + 42, y - 40, 'Z', 36),
  blush: (gap, y) => ellipse(-gap, y, 10, 6, '#f29a93', 'opacity="0.8"') + ellipse(gap, y, 10, 6, '#f29a93', 'opacity="0.8"'),
};

/** A whole picture. */
export const picture = (...parts) => `<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256" viewBox="0 0 256 256">${parts.join('')}</svg>`;
