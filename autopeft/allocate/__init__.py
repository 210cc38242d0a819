"""Where parameters go: what data say of the places on a backbone."""
