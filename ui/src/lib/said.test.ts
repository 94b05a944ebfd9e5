import { afterEach, describe, expect, it } from 'vitest';
import { findingWords } from './characters/findings';
import { errorDetail, errorWords } from './errors';
import type { ApiError } from './ipc/bindings/ApiError';
import { adapterWords, droppedWords, metricWords } from './evaluate/words';
import { profileWords, remarkWords } from '../components/training/measures';
import { duration, guess, setLanguage, size } from './messages/index.svelte';
import { connectionWords } from './status';

afterEach(() => setLanguage('en'));

describe('what the studio says', () => {
  const error: ApiError = {
    code: 'storage',
    cause: 'diskFull',
    values: { path: '/home/dot/a.json' },
    message: 'the disk is full; nothing was changed while saving: /home/dot/a.json',
    hint: 'Free some space and try again.',
  };

  it('is said in the language of the window, with its values', () => {
    setLanguage('zh-Hans');
    expect(errorWords(error)).toEqual({
      message: '磁盘已满；没有做任何改动。/home/dot/a.json',
      hint: '腾出空间后再试。',
    });
    const finding = { severity: 'warning', message: '', hint: '' };
    const values = { persona: 'en', spoken: 'de' };
    expect(findingWords({ ...finding, code: 'other-language', values }).message).toBe(
      '人设用的是英语，示例回复用的是德语。',
    );
  });

  it('is said so for what is worth knowing about a run, naming its measure', () => {
    setLanguage('zh-Hant');
    const values = { measure: 'likeness by shapes', count: '2' };
    expect(remarkWords({ code: 'fallen-measure', text: '', values })).toBe(
      '未參與訓練的「按形狀的相似度」連續下降 2 次，而獎勵在上升。',
    );
    expect(remarkWords({ code: '', text: 'From an older run.', values: {} })).toBe('From an older run.');
  });

  it('is said so for what model and measures refuse, with the reason beside it', () => {
    setLanguage('zh-Hans');
    const message = 'there is no stage “ppo”; there are base, sft and grpo';
    const refused: ApiError = { ...error, code: 'badRequest', cause: 'measureRefused', message };
    expect(errorWords(refused).message).toBe('无法按要求进行这次评测。');
    expect(errorDetail(refused)).toBe(message);
    const values = { field: 'vocab_size' };
    const config: ApiError = { ...error, code: 'model', cause: 'modelConfig', values };
    expect(errorWords(config).message).toBe('基础模型配置中的“vocab_size”有误。');
    expect(droppedWords('rater_note')).toBe('写给评分者的说明');
    expect(droppedWords('new')).toBe('new');
  });

  it('is said so for what was learned, by stage and how far', () => {
    expect(adapterWords({ stage: '', step: 300 })).toBe('Stage 1 · step 300');
    expect(adapterWords({ stage: 'grpo', step: 4 })).toBe('Stage 2 · epoch 4');
    setLanguage('zh-Hans');
    expect(adapterWords({ stage: 'sft', step: 300 })).not.toContain('sft');
  });

  it('is said so for how long it takes', () => {
    expect([42, 7 * 60, 3900].map(duration)).toEqual(['42 s', '7 min', '1 h 05 min']);
    expect([0.2, 7.4, 130].map(guess)).toEqual(['1 min', '7 min', '2 h 10 min']);
    setLanguage('zh-Hans');
    expect([42, 7 * 60, 3900].map(duration)).toEqual(['42 秒', '7 分钟', '1 小时 05 分钟']);
  });

  it('is said so for how much room it takes', () => {
    expect([512, 3400, 12_300_000, 1_440_000_000].map(size)).toEqual([
      '512 byte',
      '3.4 kB',
      '12 MB',
      '1.4 GB',
    ]);
    setLanguage('zh-Hans');
    expect(size(12_300_000)).toContain('12');
  });

  it('promises to be offline only where the system tells', () => {
    expect(connectionWords(0)).toBe('Offline: no connection is open');
    expect(connectionWords(2)).toBe('2 network connections are open');
    expect(connectionWords(null)).not.toContain('Offline');
  });

  it('is said so for the profiles of stage 2', () => {
    setLanguage('zh-Hant');
    expect(profileWords('gpu-24gb')).toBe('一張 24 GB 的顯示卡');
    expect(profileWords('my-own')).toBe('my-own');
  });

  it('is said so for metrics', () => {
    setLanguage('zh-Hans');
    expect(metricWords({ metric: 'copy_rate', label: 'Picture: copies' })).toBe('图片：照搬教学图片');
    expect(metricWords({ metric: 'new', label: 'Newest' })).toBe('Newest');
  });

  it('stays as it was where the window has no words for it', () => {
    const unknown = { ...error, cause: null };
    expect(errorWords(unknown)).toEqual({ message: error.message, hint: error.hint });
    expect(errorDetail(unknown)).toBeNull();
    expect(errorDetail(error)).toBe(error.message);
    const finding = { severity: 'note', code: 'new', message: 'Dot is new', hint: 'Wait.', values: {} };
    expect(findingWords(finding)).toEqual({ message: 'Dot is new.', hint: 'Wait.' });
  });
});
