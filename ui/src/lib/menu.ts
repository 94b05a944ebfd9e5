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
  // Only while it is open: a long list has a menu in each row.
  const listen = () => {
    document.addEventListener('pointerdown', press);
    document.addEventListener('keydown', key);
  };
  const rest = () => {
    document.removeEventListener('pointerdown', press);
    document.removeEventListener('keydown', key);
  };
  const toggled = () => (node.open ? listen() : rest());
  node.addEventListener('toggle', toggled);
  toggled();
  return {
    destroy() {
      node.removeEventListener('toggle', toggled);
      rest();
    },
  };
}
