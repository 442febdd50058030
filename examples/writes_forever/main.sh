# Prints without end. The output limit does it.
while :; do
  echo 'All work and no play makes Jack a dull boy'
done
