// Colours: Grafana's names, as the dashboards use them, in the page's own hues for light and dark.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const named = {
  green: "--good", orange: "--careful", red: "--bad", text: "--plain", purple: "--purple",
  "semi-dark-blue": "--blue", "semi-dark-green": "--green",
};

export const dark = () => document.documentElement.dataset.theme === "dark";

// colour is what a name looks like now.
export const colour = (name) => named[name] ? style(named[name]) : name.startsWith("--") ? style(name) : name;

// Told apart by people who see fewer colours, too: Okabe and Ito's, darker on light and lighter on dark.
const palettes = {
  light: ["#0072b2", "#d55e00", "#2e9b4f", "#a83279", "#8a6d00", "#3b8ec2", "#c4162a", "#5b4bb5", "#5a8f00", "#6b7280"],
  dark: ["#56b4e9", "#ff9a57", "#2fc49a", "#e79bc8", "#f0e442", "#8ab8ff", "#ff7383", "#b9a7ff", "#a6d75b", "#a7b0bd"],
};

export const line = (i) => {
  const palette = palettes[dark() ? "dark" : "light"];
  return palette[i % palette.length];
};

// Patterns tell lines of one colour apart.
const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 4]];

export const dash = (i) => dashes[i % dashes.length];

// threshold is the colour that a value has by the steps of a field.
export const threshold = (steps, value) => {
  let found = "text";
  for (const step of steps || []) {
    if (step.value === null || step.value === undefined || value >= step.value) found = step.color;
  }
  return found;
};

// mapped is the word and the colour that a value has, or nothing.
export const mapped = (mappings, value) => {
  for (const mapping of mappings || []) {
    if (mapping.type === "value" && mapping.options[String(value)]) return mapping.options[String(value)];
  }
  return undefined;
};
