// One import for each panel: importing it registers it.
export {};
