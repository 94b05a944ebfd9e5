// Moxie Flint, a fourteen-year-old inventor in a scrapyard: a DiceBear bigSmile head, goggles and overalls of our own.
import { portrait } from '../portrait.mjs';
import { INK, ellipse, group, line, path, rect, spots, stroke, thin } from '../shapes.mjs';

const style = 'bigSmile';
const identity = { hair: ['mohawk'], hairColor: ['f59797'], skinColor: ['a47539'], accessoriesProbability: 0 };
const faces = {
  grinning: { eyes: ['cheery'], mouth: ['openedSmile'] },
  toothy: { eyes: ['normal'], mouth: ['teethSmile'] },
  sad: { eyes: ['sad'], mouth: ['openSad'] },
  furious: { eyes: ['angry'], mouth: ['unimpressed'] },
  sleepy: { eyes: ['sleepy'], mouth: ['unimpressed'] },
  cheeky: { eyes: ['winking'], mouth: ['gapSmile'] },
  starstruck: { eyes: ['starstruck'], mouth: ['openedSmile'] },
  confused: { eyes: ['confused'], mouth: ['awkwardSmile'] },
  shy: { eyes: ['normal'], mouth: ['kawaii'] },
  focused: { eyes: ['normal'], mouth: ['unimpressed'] },
  braced: { eyes: ['cheery'], mouth: ['braces'] },
  alarmed: { eyes: ['confused'], mouth: ['openSad'] },
  dreamy: { eyes: ['sleepy'], mouth: ['kawaii'] },
  fierce: { eyes: ['angry'], mouth: ['teethSmile'] },
};

// Overalls behind the head, goggles on the forehead: both are in every picture.
const overalls = group('translate(-28 0)', path('M52 262 Q54 200 104 196 H152 Q202 200 204 262 z', '#f0d13c', line) + path('M88 262 V214 H168 V262 z', '#3f6fb5', line)
  + stroke('M92 216 L82 200 M164 216 L174 200', '#3f6fb5', 11) + ellipse(94, 222, 5, 5, '#d9d9de', thin) + ellipse(162, 222, 5, 5, '#d9d9de', thin));
const goggles = (x = 100, y = 92) => group(`translate(${x} ${y})`, stroke('M-70 6 Q0 -22 70 6', INK, 17), stroke('M-70 6 Q0 -22 70 6', '#6b4a36', 10),
  spots([[-27], [27]], (cx) => ellipse(cx, -4, 24, 19, '#8a8f98', line) + ellipse(cx, -4, 16, 12, '#6fd3e0', thin) + stroke(`M${cx - 8} -6 l6 -5`, '#fff', 4)), rect(-6, -9, 12, 9, '#8a8f98', thin));

const gear = (x, y, r, fill) => group(`translate(${x} ${y})`, [...Array(8).keys()].map((i) => group(`rotate(${i * 45})`, rect(-r * 0.2, -r * 1.3, r * 0.4, r * 0.6, fill, thin))).join(''), ellipse(0, 0, r, r, fill, line), ellipse(0, 0, r * 0.35, r * 0.35, '#5b4a44', thin));
const tyre = (x, y, r) => ellipse(x, y, r, r, '#35353d', line) + ellipse(x, y, r * 0.45, r * 0.45, '#b9b4aa', line);
const scrapyard = (sky = '#f7d9a8', wheels = true) => ({ svg: rect(0, 0, 256, 256, sky) + path('M-4 190 L30 110 L66 150 L88 96 L120 170 L150 120 L190 168 L220 90 L262 176 V260 H-4 z', '#a8876c') + path('M-4 206 L26 160 L60 190 L110 176 L170 196 L214 158 L262 200 V260 H-4 z', '#7d6658', line) + (wheels ? tyre(28, 196, 26) : '') + gear(226, 192, 24, '#c97f35') + stroke('M60 196 V140 h16', '#5d6d7e', 8) });
const robot = (x, y, eye = '#7bea8f') => group(`translate(${x} ${y})`, stroke('M0 -34 V-48', INK, 4), ellipse(0, -50, 5, 5, '#e4574f', thin), rect(-28, -34, 56, 42, '#b8c4cc', `${line} rx="8"`), ellipse(-12, -16, 8, 8, eye, thin), ellipse(12, -16, 8, 8, eye, thin), stroke('M-12 0 H12', INK, 4), rect(-20, 8, 40, 34, '#8fa0ab', line), stroke('M-22 16 l-14 12 M22 16 l14 12', INK, 6), ellipse(-12, 44, 9, 7, '#35353d', thin), ellipse(12, 44, 9, 7, '#35353d', thin));
const corners = [{ x: 0, y: 194, size: 58 }, { x: 182, y: 178, size: 72 }];
const make = (face, scene, { props = [], ...more } = {}) => portrait({ style, identity, face: faces[face], x: -8, y: 38, size: 216, below: overalls, ...(scene.svg ? { scene } : { scene: scene[0], colours: scene[1] ?? [] }), props: props.map((emoji, i) => (emoji ? { emoji, ...corners[i] } : null)), ...more, above: goggles() + (more.above ?? '') });

export const pictures = {
  'scrapyard-grinning': make('grinning', scrapyard(), { above: group('translate(222 206) scale(0.92)', robot(0, 0)) }),
  'workshop-focused': make('focused', ['workshop'], { props: ['1f527', '1f529'] }),
  'invention-starstruck': make('starstruck', ['laboratory'], { props: [null, '1f4a1'] }),
  'smoke-alarmed': make('alarmed', scrapyard('#8d8f99'), { above: spots([[222, 224, 30], [242, 196, 20], [212, 188, 18], [232, 162, 15]], (x, y, r) => ellipse(x, y, r, r, '#4f5057', thin)) + path('M208 256 q-8 -24 10 -34 q0 12 10 14 q0 -16 10 -22 q10 26 2 42 z', '#f28c33', thin) }),
  'storm-fierce': make('fierce', ['storm'], { props: ['2602'], above: path('M216 58 L192 112 H210 L198 158 L240 94 H218 L232 58 z', '#ffe27a', line) }),
  'night-sleepy': make('sleepy', ['night'], { props: [null, '1f526'] }),
  'rocket-toothy': make('toothy', ['space'], { props: [null, '1f680'] }),
  'rain-sad': make('sad', ['rainyWindow'], { above: group('translate(222 206) scale(0.92)', robot(0, 0, '#3d444a')) }),
  'street-cheeky': make('cheeky', ['street'], { props: ['1f6f9'] }),
  'circuit-confused': make('confused', scrapyard('#d6ecc9', false), { props: ['1f50c', '1f50b'] }),
  'fair-braced': make('braced', ['festival'], { props: [null, '1f3c6'] }),
  'rooftop-dreamy': make('dreamy', ['rooftop'], { props: [null, '1f52d'] }),
  'flower-shy': make('shy', ['park'], { props: [null, '1f33b'] }),
  'rust-furious': make('furious', scrapyard('#f0a36b'), { props: [null, '1f528'] }),
};
