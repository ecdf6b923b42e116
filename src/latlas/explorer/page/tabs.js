// Tabs of the panel, as the ARIA pattern has them.

import { h, narrow } from "./dom.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {[string, string, HTMLElement][]} all */
export function tabs(app, all) {
  const heads = all.map(([key, title]) =>
    h("button", {
      type: "button",
      role: "tab",
      id: `latlas-tab-${key}`,
      "aria-controls": `latlas-${key}`,
      text: title,
      on: {
        click: () => {
          app.open(key);
          if (!narrow()) return;
          // The content lies below the map, and what is decoded stays above it.
          const above = list.closest(".panel")?.querySelector(".previews");
          const stays = above && getComputedStyle(above).position === "sticky";
          list.style.scrollMarginTop = `${stays ? above.clientHeight : 0}px`;
          list.scrollIntoView();
        },
      },
    }),
  );
  const bodies = all.map(([key, , body]) =>
    h("div", { role: "tabpanel", id: `latlas-${key}`, "aria-labelledby": `latlas-tab-${key}`, tabindex: "0" }, body),
  );
  const show = () => {
    if (!all.some(([key]) => key === app.tab)) app.tab = all[0][0];
    all.forEach(([key], k) => {
      const on = key === app.tab;
      heads[k].setAttribute("aria-selected", String(on));
      heads[k].tabIndex = on ? 0 : -1;
      bodies[k].hidden = !on;
    });
  };
  app.on("tab", show);
  show();
  const list = h(
    "div",
    {
      role: "tablist",
      class: "tabs",
      "aria-label": "Panels",
      on: {
        keydown: (/** @type {KeyboardEvent} */ event) => {
          const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
          if (!by) return;
          const at = (all.findIndex(([key]) => key === app.tab) + by + all.length) % all.length;
          app.open(all[at][0]);
          heads[at].focus();
          event.preventDefault();
        },
      },
    },
    ...heads,
  );
  return h("div", { class: "tabbed" }, list, ...bodies);
}
