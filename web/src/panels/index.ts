// One import for each panel: importing it registers it.
import "./why";
