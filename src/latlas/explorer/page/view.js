// Which part of the plane is on screen.

export class View {
  width = 1;
  height = 1;
  x = 0;
  y = 0;
  /** Pixels for each unit of the plane. */
  k = 1;
  /** k at which the whole map fits. */
  whole = 1;

  /** @param {number[]} box */
  fit(box) {
    const [x0, y0, x1, y1] = box;
    this.whole = 0.96 * Math.min(this.width / (x1 - x0 || 1), this.height / (y1 - y0 || 1));
    this.k = this.whole;
    this.x = (x0 + x1) / 2;
    this.y = (y0 + y1) / 2;
  }

  /** @param {number} x @param {number} y @returns {[number, number]} */
  toScreen(x, y) {
    return [this.width / 2 + (x - this.x) * this.k, this.height / 2 - (y - this.y) * this.k];
  }

  /** @param {number} px @param {number} py @returns {[number, number]} */
  toPlane(px, py) {
    return [this.x + (px - this.width / 2) / this.k, this.y - (py - this.height / 2) / this.k];
  }

  /** Enlarges about a point of the screen. @param {number} factor @param {number} [px] @param {number} [py] */
  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toPlane(px, py);
    this.k = Math.min(this.whole * 4000, Math.max(this.whole * 0.4, this.k * factor));
    this.x = x - (px - this.width / 2) / this.k;
    this.y = y + (py - this.height / 2) / this.k;
  }

  /** @param {number} dx @param {number} dy in pixels */
  pan(dx, dy) {
    this.x -= dx / this.k;
    this.y += dy / this.k;
  }

  /** The plane's box on screen. @returns {[number, number, number, number]} */
  bounds() {
    const [x0, y1] = this.toPlane(0, 0);
    const [x1, y0] = this.toPlane(this.width, this.height);
    return [x0, y0, x1, y1];
  }
}
