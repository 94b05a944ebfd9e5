import { mount, unmount } from 'svelte';
import { expect, it, vi } from 'vitest';
import type { EvaluationDetail } from '../../lib/ipc/bindings/EvaluationDetail';
import { ids } from '../../lib/testids';
import EvaluationInspector from './EvaluationInspector.svelte';
import ResultsTable from './ResultsTable.svelte';

vi.mock('../../lib/app.svelte', () => ({ useApp: () => ({ toggleInspector: () => {} }) }));
const baseHash = 'b'.repeat(64);
const run = { id: 'e', names: ['Dot'], stages: ['base'], status: 'finished', isQuick: true, numSteps: 0 };
const parts = { run, rows: [], differences: [], baseHash, model: 'mini', precision: 'f32', features: 'own' };
const shown = parts as unknown as EvaluationDetail;
const hash = () => document.querySelector(`[data-testid=${ids.hash}]`)?.getAttribute('title');

it('tells the whole hash of the base beneath the results', () => {
  const table = mount(ResultsTable, { target: document.body, props: { shown, metric: null } });
  expect(hash()).toBe(baseHash);
  void unmount(table);
});

it('tells it in the details', () => {
  const details = mount(EvaluationInspector, { target: document.body, props: { shown, metric: null } });
  expect(hash()).toBe(baseHash);
  void unmount(details);
});
