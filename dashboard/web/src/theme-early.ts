import { showTheme, storedTheme } from "./theme";

showTheme(storedTheme());
