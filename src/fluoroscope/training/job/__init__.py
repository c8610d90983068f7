"""The whole job of a training: network and pictures, the loop, what is judged and written."""
