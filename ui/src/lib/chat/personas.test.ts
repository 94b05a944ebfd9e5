import { beforeEach, expect, it } from 'vitest';
import { isNobody, Personas } from './personas.svelte';

const ada = { userName: 'Ada', userPersona: 'a gardener' };
const bob = { userName: 'Bob', userPersona: '' };
const names = (personas: Personas) => personas.list.map((persona) => persona.userName);

beforeEach(() => localStorage.clear());

it('keeps personas from one start to the next, each once', () => {
  const personas = new Personas();
  const first = personas.add(ada);
  personas.add(bob);
  expect(personas.add({ ...ada })).toEqual(first);
  expect(names(new Personas())).toEqual(['Ada', 'Bob']);
  expect(new Personas().find(ada)?.id).toBe(first.id);
});

it('changes one and changes it back', () => {
  const personas = new Personas();
  const { id } = personas.add(ada);
  const undo = personas.change(id, { ...ada, userPersona: 'a sailor' });
  expect(personas.list).toEqual([{ id, userName: 'Ada', userPersona: 'a sailor' }]);
  undo();
  expect(new Personas().list).toEqual([{ id, ...ada }]);
});

it('removes one and brings it back to its place', () => {
  const personas = new Personas();
  const { id } = personas.add(ada);
  personas.add(bob);
  const undo = personas.remove(id);
  personas.add({ userName: 'Cleo', userPersona: '' });
  undo();
  expect(names(personas)).toEqual(['Ada', 'Bob', 'Cleo']);
});

it('begins anew where something else was written', () => {
  localStorage.setItem('personas', '{');
  expect(new Personas().list).toEqual([]);
  expect([isNobody({ userName: ' ', userPersona: '' }), isNobody(bob)]).toEqual([true, false]);
});
