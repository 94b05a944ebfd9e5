/** An action for `<details>` menus: a click elsewhere or Escape closes them. */
export function menu(node: HTMLDetailsElement): { destroy: () => void } {
  const press = (event: PointerEvent) => {
    if (!node.contains(event.target as Node)) node.open = false;
  };
  const key = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || !node.open) return;
    node.open = false;
    node.querySelector('summary')?.focus();
  };
  document.addEventListener('pointerdown', press);
  document.addEventListener('keydown', key);
  return {
    destroy() {
      document.removeEventListener('pointerdown', press);
      document.removeEventListener('keydown', key);
    },
  };
}
