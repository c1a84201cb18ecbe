import { useGraphiQL, useGraphiQLActions, type GraphiQLPlugin } from '@graphiql/react';
import { useEffect, useState } from 'react';
import { RecipesIcon } from './icons.tsx';
import type { Recipe, RecipeFile } from './recipes.ts';

/** The panel that lists operations to try. */
export function recipesPlugin(files: readonly RecipeFile[]): GraphiQLPlugin {
  return { title: 'Recipes', icon: RecipesIcon, content: () => <RecipesPanel files={files} /> };
}

function RecipesPanel({ files }: { files: readonly RecipeFile[] }) {
  const open = useOpenInNewTab();
  return (
    <section className="custos-panel" aria-label="Recipes">
      <h2>Recipes</h2>
      <p>{files.length === 0 ? 'There are none.' : 'A click opens the operation in a new tab.'}</p>
      {files.map(({ name, recipes }) => (
        <section key={name} aria-label={name}>
          {recipes.length > 1 && <h3>{name}</h3>}
          <ul className="custos-recipes">
            {recipes.map((recipe) => (
              <li key={recipe.id}>
                <button
                  type="button"
                  onClick={() => open(recipe)}
                  data-testid="recipe"
                  data-recipe={recipe.id}
                >
                  <strong>{recipe.title}</strong>
                  <span className="custos-badge">{recipe.kind}</span>
                  {recipe.description && <small>{recipe.description}</small>}
                </button>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </section>
  );
}

function useOpenInNewTab(): (recipe: Recipe) => void {
  const actions = useGraphiQLActions();
  const { queryEditor, variableEditor, tabs } = useGraphiQL((state) => ({
    queryEditor: state.queryEditor,
    variableEditor: state.variableEditor,
    tabs: state.tabs,
  }));
  const [waiting, setWaiting] = useState<Recipe | null>(null);
  // The editors show the new tab only after the store has switched to it.
  useEffect(() => {
    if (!waiting) return;
    queryEditor?.setValue(waiting.text);
    variableEditor?.setValue(waiting.variables);
    setWaiting(null);
  }, [tabs, waiting, queryEditor, variableEditor]);
  return (recipe) => {
    // What runs would write its results into the new tab.
    actions.stop();
    actions.addTab();
    setWaiting(recipe);
  };
}
