import { App } from "./app";
import { readBoot } from "./boot";
import { showTheme, storedTheme } from "./theme";

showTheme(storedTheme());
const root = document.getElementById("app");
// The small pages share this script's name but have nothing to draw.
if (root && document.getElementById("boot")) new App(root, readBoot()).start();
