// Nima Ninth-Bell, guardian of a clock tower: a DiceBear adventurer head; cloak, bell frame and clock are our own.
import { portrait } from '../portrait.mjs';
import { INK, ellipse, group, line, path, rect, spots, stroke, thin } from '../shapes.mjs';

const style = 'adventurer';
const identity = { hair: ['long16'], hairColor: ['afafaf'], skinColor: ['9e5622'], featuresProbability: 0, glassesProbability: 0, earrings: ['variant02'], earringsProbability: 100 };
const face = (eyes, eyebrows, mouth) => ({ eyes: [`variant${eyes}`], eyebrows: [`variant${eyebrows}`], mouth: [`variant${mouth}`] });
const faces = {
  calm: face('26', '10', '02'),
  smiling: face('26', '10', '01'),
  stern: face('12', '02', '09'),
  asleep: face('20', '10', '09'),
  astonished: face('24', '09', '03'),
  grieving: face('15', '07', '04'),
  laughing: face('19', '10', '25'),
  wary: face('13', '07', '09'),
  weary: face('16', '10', '04'),
  singing: face('19', '09', '30'),
  alarmed: face('08', '07', '14'),
  winking: face('21', '09', '02'),
  wondering: face('23', '09', '18'),
};

const cloak = path('M40 262 Q46 214 100 206 H142 Q196 214 204 262 z', '#2b376b', line) + path('M96 207 L121 236 L146 207 z', '#d9a62b', line) + ellipse(121, 243, 9, 9, '#f3c243', thin) + stroke('M121 243 V237', INK, 2.5);
const bell = (x, y, s = 1, swing = 0) => group(`translate(${x} ${y}) scale(${s}) rotate(${swing})`, stroke('M0 -34 V-44', INK, 6), ellipse(0, 26, 8, 8, '#7a5230', thin), path('M-30 22 Q-20 14 -20 -8 Q-20 -34 0 -34 Q20 -34 20 -8 Q20 14 30 22 z', '#d9a62b', line), stroke('M-23 12 H23', '#f7e0a0', 4));
const belfry = (sky = '#a8cdea') => ({ svg: rect(0, 0, 256, 256, '#8d7a6b') + path('M10 256 V70 Q10 16 46 16 Q82 16 82 70 V256 z M174 256 V70 Q174 16 210 16 Q246 16 246 70 V256 z', sky, 'stroke="#5e5047" stroke-width="7"') + rect(0, 208, 256, 48, '#6b4a2f') + rect(0, 202, 256, 9, '#4d3420') });

const spot = [{ x: 0, y: 188, size: 66 }, { x: 186, y: 184, size: 70 }];
const make = (look, scene, { props = [], above = '', below = '', ...more } = {}) => portrait({
  style, identity, face: faces[look], x: 6, y: 12, size: 236, below: below + cloak, ...(scene.svg ? { scene } : { scene: scene[0], colours: scene[1] ?? [] }),
  props: props.map((emoji, i) => (emoji ? { emoji, ...spot[i] } : null)), above, ...more,
});

export const pictures = {
  'clock-calm': make('calm', ['clockTower']),
  'belfry-singing': make('singing', belfry(), { above: bell(220, 120, 0.9, 14) }),
  'stair-stern': make('stern', ['castleHall'], { props: [null, '1f5dd'] }),
  'bench-smiling': make('smiling', ['workshop'], { props: [null, '2699'] }),
  'dawn-laughing': make('laughing', ['rooftop', ['#f9c9a0', '#8b6f9a']], { props: [null, '1f413'] }),
  'night-wondering': make('wondering', ['night'], { props: [null, '2b50'] }),
  'snow-weary': make('weary', ['snow'], { props: [null, '1f9e3'] }),
  'lightning-alarmed': make('alarmed', ['storm'], { above: bell(222, 190, 0.8, -20) }),
  'bed-asleep': make('asleep', ['bedroom'], { props: [null, '23f0'] }),
  'window-grieving': make('grieving', ['rainyWindow'], { props: [null, '1f56f'] }),
  'owl-astonished': make('astonished', belfry('#2b376b'), { props: [null, '1f989'] }),
  'market-wary': make('wary', ['market'], { props: [null, '231a'] }),
  'platform-winking': make('winking', ['platform'], { props: [null, '1f9f3'] }),
  'sea-wondering': make('wondering', ['lighthouse'], { props: [null, '1f41a'] }),
  'festival-laughing': make('laughing', ['festival'], { above: bell(222, 206, 0.85, 0) }),
};
