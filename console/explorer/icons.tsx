import type { ReactNode } from 'react';

function icon(title: string, paths: ReactNode): () => ReactNode {
  return () => (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
      <title>{title}</title>
      <g strokeLinecap="round" strokeLinejoin="round">
        {paths}
      </g>
    </svg>
  );
}

/** A person. */
export const PersonIcon = icon(
  'Session',
  <>
    <circle cx="12" cy="8" r="4" />
    <path d="M4.500 20.500c0-3.900 3.400-6 7.500-6s7.500 2.100 7.500 6" />
  </>,
);

/** A pulse. */
export const PulseIcon = icon('Live feed', <path d="M2.500 12h4l3-7.500 5 15 3-7.500h4" />);

/** A list of steps. */
export const RecipesIcon = icon(
  'Recipes',
  <>
    <path d="M12 6.500C10 4.800 7 4.500 3.500 4.500v13.500c3.500 0 6.500.300 8.500 2 2-1.700 5-2 8.500-2V4.500c-3.500 0-6.500.300-8.500 2Z" />
    <path d="M12 6.500V20" />
  </>,
);

/** The shield of Custos. */
export const ShieldIcon = icon(
  'Custos',
  <>
    <path d="M12 2.500 4 5.500v5.500c0 5 3.300 8.700 8 10.500 4.700-1.800 8-5.500 8-10.500V5.500Z" />
    <path d="M7.500 11.500S9 8.500 12 8.500s4.500 3 4.500 3-1.500 3-4.500 3-4.500-3-4.500-3Z" />
  </>,
);
