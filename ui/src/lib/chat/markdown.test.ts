import { describe, expect, it } from 'vitest';
import { blocks, spans } from './markdown';

const text = (value: string) => ({ kind: 'text', text: value });

describe('spans', () => {
  it('reads actions, emphasis and code', () => {
    expect(spans('*waves* Hello, **you** and `x*y*`')).toEqual([
      { kind: 'em', spans: [text('waves')] },
      text(' Hello, '),
      { kind: 'strong', spans: [text('you')] },
      text(' and '),
      { kind: 'code', text: 'x*y*' },
    ]);
    expect(spans('*a **b** c*')).toEqual([
      { kind: 'em', spans: [text('a '), { kind: 'strong', spans: [text('b')] }, text(' c')] },
    ]);
  });

  it('leaves stars and underscores that mean themselves', () => {
    for (const plain of ['2 * 3 * 4', 'a_b_c', '**', '* *', 'half *open', '****']) {
      expect(spans(plain), plain).toEqual([text(plain)]);
    }
    expect(spans('\\*not\\*')).toEqual([text('*not*')]);
  });

  it('keeps tags and scripts as text', () => {
    for (const evil of ['<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '&lt;b&gt;']) {
      expect(spans(evil)).toEqual([text(evil)]);
    }
    expect(spans('[go](javascript:alert)')).toEqual([{ kind: 'link', text: 'go', url: 'javascript:alert' }]);
  });

  it('ends in reasonable time on hostile text', () => {
    const started = performance.now();
    spans('*a'.repeat(5000));
    spans('['.repeat(5000));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe('blocks', () => {
  it('tells paragraphs, lists, quotes, code and rules apart', () => {
    const source = 'One\ntwo\n\n# Title\n- a\n- b\n3. c\n> q\n> r\n```js\n<b>\n```\n---';
    expect(blocks(source)).toEqual([
      { kind: 'paragraph', spans: [text('One'), { kind: 'break' }, text('two')] },
      { kind: 'heading', level: 1, spans: [text('Title')] },
      { kind: 'list', isOrdered: false, start: 1, items: [[text('a')], [text('b')]] },
      { kind: 'list', isOrdered: true, start: 3, items: [[text('c')]] },
      { kind: 'quote', spans: [text('q'), { kind: 'break' }, text('r')] },
      { kind: 'code', text: '<b>' },
      { kind: 'rule' },
    ]);
  });

  it('shows code that is still being written', () => {
    expect(blocks('```\nlet a')).toEqual([{ kind: 'code', text: 'let a' }]);
    expect(blocks('')).toEqual([]);
  });
});
