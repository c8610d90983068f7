"""Networks that can be run backwards: residual blocks that no picture is lost in."""
