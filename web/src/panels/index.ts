// One import for each panel: importing it registers it.
import "./input/input";
import "./why";
import "./morph/morph";
import "./stations/stations";
import "./attack/attack";
import "./units";
import "./beliefs";
import "./report";
