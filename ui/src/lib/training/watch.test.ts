import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RunDetail } from '../ipc/bindings/RunDetail';
import type { RunSummary } from '../ipc/bindings/RunSummary';
import type { Client } from '../ipc/client';
import { RunWatch } from './watch.svelte';

const run = (id: string, characterId: string, status: RunSummary['status']) =>
  ({ id, characterId, status, createdMs: 0 }) as RunSummary;

/** A watch over runs that the test changes. */
function watching(...all: RunSummary[]) {
  const runs = Object.fromEntries(all.map((known) => [known.id, known]));
  const listRuns = vi.fn<Client['listRuns']>(() => Promise.resolve(Object.values(runs)));
  const getRun = vi.fn((id: string) => Promise.resolve({ run: runs[id] } as RunDetail));
  const onEnded = vi.fn();
  const watch = new RunWatch({ listRuns, getRun } as unknown as Client, onEnded);
  const end = (id: string) => Object.assign(runs, { [id]: { ...runs[id], status: 'finished' } });
  return { watch, runs, end, listRuns, getRun, onEnded };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('watching runs', () => {
  it('sees the run of another character end, and rests then', async () => {
    const { watch, end, listRuns, onEnded } = watching(
      run('old', 'dot', 'finished'),
      run('on', 'bo', 'running'),
    );
    await watch.open('dot');
    expect([watch.shown?.run.id, watch.active?.id]).toEqual(['old', 'on']);
    end('on');
    await vi.advanceTimersByTimeAsync(1000);
    expect(watch.active).toBeNull();
    expect(onEnded).not.toHaveBeenCalled();
    const numRead = listRuns.mock.calls.length;
    await vi.advanceTimersByTimeAsync(5000);
    expect(listRuns).toHaveBeenCalledTimes(numRead);
  });

  it('does so where the character was never taught, and over a reading that failed', async () => {
    const { watch, end, listRuns } = watching(run('on', 'bo', 'running'));
    await watch.open('dot');
    end('on');
    listRuns.mockImplementationOnce(() => Promise.reject(new Error('locked')));
    await vi.advanceTimersByTimeAsync(1000);
    expect(watch.active?.id).toBe('on');
    await vi.advanceTimersByTimeAsync(1000);
    expect(watch.active).toBeNull();
  });

  it('tells of the end of the one that is shown', async () => {
    const { watch, end, onEnded } = watching(run('on', 'dot', 'running'));
    await watch.open('dot');
    await vi.advanceTimersByTimeAsync(1000);
    expect(onEnded).not.toHaveBeenCalled();
    end('on');
    await vi.advanceTimersByTimeAsync(1000);
    expect(onEnded).toHaveBeenCalledOnce();
    expect(watch.shown?.run.status).toBe('finished');
  });

  it('shows what was opened last, whatever answers last', async () => {
    const { watch, getRun } = watching(run('a', 'dot', 'finished'), run('b', 'bo', 'finished'));
    let answer: (detail: RunDetail) => void = () => {};
    getRun.mockImplementationOnce(() => new Promise((done) => (answer = done)));
    const late = watch.open('dot');
    await vi.waitFor(() => expect(getRun).toHaveBeenCalledWith('a'));
    await watch.open('bo');
    answer({ run: run('a', 'dot', 'finished') } as RunDetail);
    await late;
    expect(watch.shown?.run.id).toBe('b');
  });
});
