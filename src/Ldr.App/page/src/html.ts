/** Elements without a framework. Texts are always text: nothing that a file says becomes markup. */

type Child = Node | string | null | undefined | false;
type Properties<T> = Partial<Omit<T, "style" | "children" | "attributes">> & { attributes?: Record<string, string> };

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { attributes, ...own } = properties;
  Object.assign(element, own);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  fill(element, ...children);
  return element;
}

/** Replaces what an element holds. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => !!child || child === ""));
}

/** A number for people; a dash where there is none. */
export function digits(value: unknown, places: number): string {
  return typeof value === "number" && Number.isFinite(value) ? value.toFixed(places) : "–";
}
