/** Serves the repository as a static host does: nothing of the page's own build. */
export default {};
