/**
 * Where the reader looks: pan and zoom of the picture by mouse, trackpad, touch and keys.
 *
 * Enters: pointer, wheel and key events of the viewport. Leaves: the transform of the picture. Never: a drag that is
 * taken for a click.
 */
const LEAST = 0.05;
const MOST = 6;
const STEP = 1.25;
const MARGIN = 24; // pixels
const FAR = 0.52; // below it addresses cannot be read, and names are set larger
const READABLE = 0.9;
const REST = 180; // milliseconds
const NOTCH = 80; // pixels: wheels of mice turn by more at once, fingers on a trackpad by less

export class Camera {
  /** @param {HTMLElement} viewport */
  constructor(viewport) {
    this.viewport = viewport;
    /** @type {SVGSVGElement|null} */
    this.svg = null;
    this.x = 0;
    this.y = 0;
    this.scale = 1;
    this.moved = false; // since the last pointerdown
    this.resting = 0;
    this.fitted = true; // then it stays fitted when the room changes
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    viewport.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    viewport.addEventListener("pointerdown", (event) => this.down(event));
    viewport.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      viewport.addEventListener(kind, (event) => this.up(/** @type {PointerEvent} */ (event)));
    }
    new ResizeObserver(() => this.fitted && this.fit()).observe(viewport);
  }

  /** @param {SVGSVGElement} svg */
  show(svg) {
    this.svg = svg;
    this.size = { width: svg.viewBox.baseVal.width, height: svg.viewBox.baseVal.height };
    if (this.fitted) this.fit();
    else this.apply();
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.viewport;
    if (!this.size || !width || !height) return;
    const scale = Math.min((width - 2 * MARGIN) / this.size.width, (height - 2 * MARGIN) / this.size.height, 1.4);
    this.scale = Math.max(scale, LEAST);
    this.x = (width - this.size.width * this.scale) / 2;
    this.y = (height - this.size.height * this.scale) / 2;
    this.fitted = true;
    this.apply();
  }

  /** Keeps the point of the viewport where it is. @param {number} factor @param {number} [x] @param {number} [y] */
  zoom(factor, x = this.viewport.clientWidth / 2, y = this.viewport.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, LEAST), MOST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.apply();
  }

  zoomIn = () => this.zoom(STEP);
  zoomOut = () => this.zoom(1 / STEP);

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.apply();
  }

  /** Brings an element into view, if it is not. @param {Element} element */
  reveal(element) {
    const [box, room] = [element.getBoundingClientRect(), this.viewport.getBoundingClientRect()];
    const off = (
      /** @type {number} */ low,
      /** @type {number} */ high,
      /** @type {number} */ from,
      /** @type {number} */ to,
    ) => (low < from ? from - low + MARGIN : high > to ? to - high - MARGIN : 0);
    const dx = box.width < room.width ? off(box.left, box.right, room.left, room.right) : 0;
    const dy = box.height < room.height ? off(box.top, box.bottom, room.top, room.bottom) : 0;
    if (dx || dy) this.pan(dx, dy);
  }

  /** Brings an element to the middle, near enough to be read. @param {Element} element */
  closeUp(element) {
    const [box, room] = [element.getBoundingClientRect(), this.viewport.getBoundingClientRect()];
    const [x, y] = [box.left + box.width / 2 - room.left, box.top + box.height / 2 - room.top];
    if (this.scale < READABLE) this.zoom(READABLE / this.scale, x, y);
    this.pan(room.width / 2 - x, room.height / 2 - y);
  }

  apply() {
    if (!this.svg) return;
    this.hold();
    this.svg.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.viewport.classList.toggle("is-far", this.scale < FAR);
    this.viewport.style.setProperty("--dots-size", `${Math.max(22 * this.scale, 11)}px`);
    this.viewport.style.setProperty("--dots-at", `${this.x}px ${this.y}px`);
  }

  /** While it moves the picture is moved as it was painted; when it rests it is painted again, sharp. */
  hold() {
    this.viewport.classList.add("is-moving");
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.viewport.classList.remove("is-moving"), REST);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE;
    const box = this.viewport.getBoundingClientRect();
    const fingers = !lines && Math.abs(event.deltaY) < NOTCH && !event.ctrlKey && !event.metaKey;
    if (fingers) return this.pan(-event.deltaX, -event.deltaY);
    const turned = lines ? event.deltaY * 33 : event.deltaY;
    const speed = event.ctrlKey && Math.abs(turned) < NOTCH ? 0.012 : 0.0022; // a pinch comes as a wheel with ctrl
    this.zoom(Math.exp(-turned * speed), event.clientX - box.left, event.clientY - box.top);
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button !== 0 || /** @type {Element} */ (event.target).closest("button, [role=tooltip]")) return;
    this.moved = false;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    if (!this.moved && Math.hypot(dx, dy) < 4) return;
    if (!this.moved) this.viewport.setPointerCapture(event.pointerId);
    this.moved = true;
    const others = [...this.pointers.entries()].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (!others.length) return this.pan(dx, dy);
    const [other] = others;
    const distance = (/** @type {{x: number, y: number}} */ p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
    const box = this.viewport.getBoundingClientRect();
    const [x, y] = [(event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top];
    this.zoom(distance({ x: event.clientX, y: event.clientY }) / distance(before), x, y);
  }

  /** @param {PointerEvent} event */
  up(event) {
    this.pointers.delete(event.pointerId);
  }
}
